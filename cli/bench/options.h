// What bench and tune have in common on the command line: where the server is, how a request looks, the targets, the form of the result.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/report/report.h"
#include "lib/adapters/discover.h"
#include "lib/loadgen/summary.h"

namespace patella::cli {

struct CommonOptions {
  std::string url;
  std::string engine = "auto";
  std::string model;
  std::string api_key;
  int input_tokens = 128;
  int output_tokens = 64;
  std::vector<std::string> target_texts;
  std::string output = "table";  // or "json"
  std::string html;              // path, "" for none
  uint64_t seed = 0;             // 0: a fresh one

  void AddTo(CLI::App& command);
};

struct Session {
  adapters::Discovery server;
  std::vector<loadgen::LatencyTarget> targets;
  uint64_t seed = 1;
};

// Parses the targets, finds out what answers at the URL. Errors as Detect and ParseTarget give them.
absl::StatusOr<Session> OpenSession(const CommonOptions& options);

// "127.0.0.1:3000 (vLLM, model x)".
std::string Describe(const adapters::Discovery& server);

// Says what is wrong on stderr and returns the exit code.
int Fail(const absl::Status& status);

// The report to stdout in the form that was asked for, and to the HTML file. Returns the exit code if a file cannot be written, else `code`.
int Deliver(const Report& report, const CommonOptions& options, int code);

// "2 CPUs, Intel Xeon …": the machine that the load came from.
std::string ThisMachine();

}  // namespace patella::cli
