#include "cli/bench/options.h"

#include <unistd.h>

#include <fstream>
#include <iostream>
#include <random>
#include <thread>

#include "cli/bench/output.h"
#include "cli/exit_code.h"
#include "lib/base/text.h"

namespace patella::cli {

void CommonOptions::AddTo(CLI::App& command) {
  command.add_option("URL", url, "where the server answers, for example http://127.0.0.1:3000")->required();
  command.add_option("--engine", engine, "auto, Patella, VLLM, TGI or OpenAI (any OpenAI-compatible server)")
      ->capture_default_str();
  command.add_option("--model", model, "model name to ask for; default: the first that the server lists");
  command.add_option("--api-key", api_key, "sent as `Authorization: Bearer …`")->envname("OPENAI_API_KEY");
  command.add_option("--input-tokens", input_tokens, "length of a prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--output-tokens", output_tokens, "length of an answer")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      .add_option("--target", target_texts,
                  "metric:quantile:limit, may be repeated: tpot:p90:50ms (time per output token, first one excluded), "
                  "ttft:p90:500ms (time to "
                  "first token), e2e:p95:8s (whole request)")
      ->delimiter(',');
  command.add_option("--output", output, "form of the result on stdout")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command.add_option("--html", html, "also write a self-contained report to this file");
  command
      .add_option("--seed", seed,
                  "of prompts and arrival times; 0: a fresh one (a server's prefix cache would know the old prompts)")
      ->capture_default_str();
}

absl::StatusOr<Session> OpenSession(const CommonOptions& options) {
  Session session;
  for (const std::string& text : options.target_texts) {
    absl::StatusOr<loadgen::LatencyTarget> target = loadgen::ParseTarget(text);
    if (!target.ok()) return target.status();
    session.targets.push_back(*target);
  }
  session.seed =
      options.seed != 0 ? options.seed : (static_cast<uint64_t>(std::random_device{}()) << 32 | std::random_device{}());
  absl::StatusOr<adapters::Discovery> server = adapters::Detect(options.url);
  if (!server.ok()) return server.status();
  session.server = *std::move(server);
  if (options.engine != "auto") {
    absl::StatusOr<adapters::EngineKind> kind = adapters::ParseEngineKind(options.engine);
    if (!kind.ok()) return kind.status();
    session.server.target.kind = *kind;
  }
  if (!options.model.empty()) session.server.target.model = options.model;
  if (!options.api_key.empty()) session.server.target.authorization = "Bearer " + options.api_key;
  const int most = session.server.max_total_tokens;
  if (most > 0 && options.input_tokens + options.output_tokens > most) {
    return absl::InvalidArgumentError(StrCat("--input-tokens ", options.input_tokens, " + --output-tokens ",
                                             options.output_tokens, " is more than the ", most,
                                             " tokens that this server allows a request: use fewer"));
  }
  return session;
}

std::string Describe(const adapters::Discovery& server) {
  const adapters::EngineTarget& target = server.target;
  return StrCat(target.host, ":", target.port, " (", adapters::EngineOf(target.kind).name,
                target.model.empty() ? "" : ", model ", target.model, ")");
}

int Fail(const absl::Status& status) {
  std::cerr << "patella: " << ToStd(status.message()) << "\n";
  return ExitCodeOf(status);
}

int Deliver(const Report& report, const CommonOptions& options, int code) {
  if (options.output == "json") {
    std::cout << ToJson(report);
  } else {
    std::cout << ToText(report, isatty(STDOUT_FILENO) != 0);
  }
  std::cout.flush();
  if (options.html.empty()) return code;
  std::ofstream file(options.html);
  file << RenderHtml(report);
  file.close();
  if (!file) return Fail(absl::InvalidArgumentError(StrCat("cannot write ", options.html, ": does its folder exist?")));
  std::cerr << "report: " << options.html << "\n";
  return code;
}

std::string ThisMachine() {
  std::string model;
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (!line.starts_with("model name")) continue;
    model = line.substr(line.find(':') + 2);
    break;
  }
  const std::string cores = StrCat(std::thread::hardware_concurrency(), " CPUs");
  return model.empty() ? cores : StrCat(cores, ", ", model);
}

}  // namespace patella::cli
