// The subcommands of `patella`, one function each.
//
// AddXxx registers a subcommand on `app`. When the user chose it, CLI11 runs its callback, which does the work and leaves the process's
// exit code in *exit_code (0 by default; it outlives the parsing). Messages for people go to stderr, results to stdout.
#pragma once

#include <CLI/CLI.hpp>

namespace patella::cli {

CLI::App* AddBench(CLI::App& app, int* exit_code);  // cli/bench
CLI::App* AddTune(CLI::App& app, int* exit_code);   // cli/bench
CLI::App* AddUp(CLI::App& app, int* exit_code);     // cli/up    (target patella_cli_up)
CLI::App* AddDemo(CLI::App& app, int* exit_code);   // cli/demo  (target patella_cli_demo)
CLI::App* AddPlan(CLI::App& app, int* exit_code);   // cli/plan  (target patella_cli_plan)

}  // namespace patella::cli
