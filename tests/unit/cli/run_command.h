// A subcommand of `patella` as a user calls it, in this process.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "gtest/gtest.h"

namespace patella::cli {

struct Ran {
  int code;
  std::string out, err;
};

using AddCommand = CLI::App* (*)(CLI::App&, int*);

inline Ran RunCommand(const std::vector<AddCommand>& commands, std::vector<std::string> arguments) {
  int code = 0;
  CLI::App app("test", "patella");
  app.require_subcommand(1);
  for (const AddCommand add : commands) add(app, &code);
  std::reverse(arguments.begin(), arguments.end());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    code = app.exit(error) == 0 ? kOk : kUsage;
  }
  const std::string out = testing::internal::GetCapturedStdout();
  return {code, out, testing::internal::GetCapturedStderr()};
}

}  // namespace patella::cli
