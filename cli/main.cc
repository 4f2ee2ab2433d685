// `patella`: measure, tune and run inference servers from a shell.

#include <string>

#include "cli/commands.h"
#include "cli/exit_code.h"

int main(int argc, char** argv) {
  int exit_code = patella::cli::kOk;
  CLI::App app(
      "Patella finds the knee of an inference server's latency-throughput curve and holds it.\n\n"
      "  patella tune http://127.0.0.1:3000 --target tpot:p90:50ms    how many requests at once may this server take?\n"
      "  patella bench http://127.0.0.1:3000 --concurrency 1,2,4,8    what does it do at each of these?\n"
      "  patella up -f deploy/samples/smollm2.yaml                    serve a model here behind a tuned limit\n"
      "  patella demo -f deploy/samples/smollm2.yaml                  does the limit hold under three times its load?\n"
      "  patella plan --model llama-2-7b --target tpot:p90:50ms       which accelerator would do, before buying?\n",
      "patella");
  app.set_version_flag("--version", "patella " PATELLA_VERSION);
  app.require_subcommand(1);
  app.footer(std::string(patella::cli::kExitCodesHelp) + " `patella COMMAND --help` explains each command.");
  patella::cli::AddUp(app, &exit_code);
  patella::cli::AddDemo(app, &exit_code);
  patella::cli::AddTune(app, &exit_code);
  patella::cli::AddBench(app, &exit_code);
  patella::cli::AddPlan(app, &exit_code);
  for (CLI::App* command : app.get_subcommands({}))
    command->footer(command->get_footer() + "\n\n" + patella::cli::kExitCodesHelp);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? patella::cli::kOk : patella::cli::kUsage;
  }
  return exit_code;
}
