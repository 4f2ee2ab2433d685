#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>

#include "cli/bench/options.h"
#include "cli/bench/output.h"
#include "cli/bench/progress.h"
#include "cli/commands.h"
#include "cli/demo/blocks.h"
#include "cli/demo/engine_limit.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/own_command.h"
#include "cli/up/local.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/http/client.h"
#include "lib/loadgen/load.h"
#include "lib/loadgen/summary.h"

namespace patella::cli {
namespace {

constexpr int kUnlimited = 128;  // the engine's limit without Patella: its own default, TGI's
constexpr auto kGrace = std::chrono::seconds(8);

struct DemoOptions {
  LocalOptions local;
  std::string report_path = "patella-report.html";
  double seconds = 225;  // of the whole
};

// The demo in progress.
struct Demo {
  DemoOptions options;
  std::unique_ptr<LocalDeployment> local;
  std::unique_ptr<EngineLimit> engine_limit;
  std::unique_ptr<Progress> progress = std::make_unique<Progress>();
  TimePoint begun = SteadyClock().Now();
  SidecarView view;
  std::vector<loadgen::LatencyTarget> targets;
  int learned_engine_limit = 0;  // as the sidecar left it
};

loadgen::LatencyTarget TargetOf(const api::LatencyObjective& objective) {
  using loadgen::LatencyMetric;
  const LatencyMetric metric =
      objective.metric == api::LatencyMetric::kTimePerOutputToken ? LatencyMetric::kTimePerOutputToken
      : objective.metric == api::LatencyMetric::kTimeToFirstToken ? LatencyMetric::kTimeToFirstToken
                                                                  : LatencyMetric::kEndToEnd;
  return {metric, api::ToDouble(objective.quantile), static_cast<double>(objective.target_ms)};
}

absl::StatusOr<adapters::EngineTarget> AddressOf(const Demo& demo, Arm arm) {
  adapters::EngineTarget target;
  target.kind = adapters::EngineKind::kPatella;
  target.model = demo.local->deployment().spec.model.name;
  target.port = demo.local->engine_port();
  if (arm != Arm::kWith) return target;
  PATELLA_ASSIGN_OR_RETURN(const http::Url url, http::ParseUrl(StrCat("http://", demo.local->listen())));
  target.host = url.host == "0.0.0.0" ? "127.0.0.1" : url.host;
  target.port = url.port;
  return target;
}

// Without Patella the engine takes what comes.
absl::Status SetEngineLimit(Demo& demo, Arm arm) {
  if (arm == Arm::kWith) return demo.engine_limit->Set(demo.learned_engine_limit);
  PATELLA_ASSIGN_OR_RETURN(const int in_force, demo.engine_limit->Get());
  if (in_force != kUnlimited) demo.learned_engine_limit = in_force;  // the sidecar may have moved it
  return demo.engine_limit->Set(kUnlimited);
}

// Runs a load to its end, or until Ctrl-C or the death of a process.
absl::StatusOr<loadgen::LoadResult> RunWatched(Demo& demo, Arm arm, const adapters::EngineTarget& target,
                                               loadgen::LoadOptions options) {
  http::Loop loop;
  absl::Status status;
  loadgen::LoadResult result;
  const auto load = loadgen::Load::Start(loop, target, std::move(options), [&](loadgen::LoadResult done) {
    result = std::move(done);
    loop.Stop();
  });
  const auto watch = loop.Every(std::chrono::milliseconds(200), [&] {
    status = Interrupted() ? absl::CancelledError("interrupted") : demo.local->CheckAlive();
    // Again and again: the sidecar, which still learns from its last requests, moves the engine's limit too.
    if (status.ok() && arm != Arm::kWith) status = SetEngineLimit(demo, arm);
    if (!status.ok()) loop.Stop();
  });
  loop.Run();
  if (!status.ok()) return status;
  if (!result.status.ok()) return result.status;
  return result;
}

Measured MeasuredOf(const Demo& demo, const Block& block, const loadgen::LoadResult& result) {
  const loadgen::LoadSummary summary = loadgen::Summarize(result, demo.targets);
  std::vector<double> latencies;
  for (const loadgen::RequestRecord& record : result.records) {
    if (record.measured && record.ok()) latencies.push_back(loadgen::ValueOf(record, demo.targets[0].metric));
  }
  return {.arm = block.arm,
          .concurrency = block.concurrency,
          .latency_ms = latencies.empty() ? 0 : loadgen::Quantile(latencies, demo.targets[0].quantile),
          .tokens_per_second = summary.tokens_per_second,
          .attainment = summary.attainment,
          .completed = summary.completed,
          .refused = summary.refused,
          .failed = summary.failed};
}

absl::StatusOr<Measured> RunBlock(Demo& demo, const Block& block, uint64_t seed) {
  const api::WorkloadSpec& workload = demo.local->deployment().spec.workload;
  PATELLA_RETURN_IF_ERROR(SetEngineLimit(demo, block.arm));
  PATELLA_ASSIGN_OR_RETURN(const adapters::EngineTarget target, AddressOf(demo, block.arm));
  loadgen::LoadOptions load;
  load.concurrency = block.concurrency;
  load.shapes = {{workload.input_tokens, workload.output_tokens, 1}};
  load.warm_up = FromSeconds(block.warm_up_s);
  load.duration = FromSeconds(block.seconds);
  load.pause_when_refused = std::chrono::seconds(1);  // the least that Retry-After can say
  load.seed = seed;
  PATELLA_ASSIGN_OR_RETURN(const loadgen::LoadResult result, RunWatched(demo, block.arm, target, std::move(load)));
  return MeasuredOf(demo, block, result);
}

std::string NameOf(Arm arm, int concurrency) {
  const std::string n = StrCat(concurrency, " clients");
  if (arm == Arm::kWith) return StrCat(n, " with Patella");
  if (arm == Arm::kWithout) return StrCat(n, " without Patella");
  return StrCat(n, " at a fixed limit");
}

absl::StatusOr<std::vector<Measured>> RunBlocks(Demo& demo) {
  const int output_tokens = demo.local->deployment().spec.workload.output_tokens;
  const double left_s = demo.options.seconds - Seconds(SteadyClock().Now() - demo.begun) - 10;
  const std::vector<Block> blocks = PlanBlocks(demo.view.limit, demo.view.a_ms, demo.view.b_ms, output_tokens, left_s);
  double total_s = 0, done_s = 0;
  for (const Block& block : blocks) total_s += block.warm_up_s + block.seconds;
  std::vector<Measured> measured;
  for (size_t i = 0; i < blocks.size(); ++i) {
    demo.progress->Show(done_s / total_s, NameOf(blocks[i].arm, blocks[i].concurrency));
    PATELLA_ASSIGN_OR_RETURN(const Measured block, RunBlock(demo, blocks[i], 1000 + i));
    measured.push_back(block);
    done_s += blocks[i].warm_up_s + blocks[i].seconds;
  }
  return measured;
}

absl::Status BringUp(Demo& demo) {
  LocalOptions local = demo.options.local;
  local.interrupted = Interrupted;
  local.on_progress = [&demo](double fraction, const std::string& what) { demo.progress->Show(fraction, what); };
  PATELLA_ASSIGN_OR_RETURN(demo.local, LocalDeployment::Prepare(std::move(local)));
  const auto& latency = demo.local->deployment().spec.objectives.latency;
  if (latency.empty())
    return absl::InvalidArgumentError("spec.objectives.latency: the demo needs a latency target to hold");
  for (const api::LatencyObjective& objective : latency) demo.targets.push_back(TargetOf(objective));
  PATELLA_RETURN_IF_ERROR(demo.local->Start());
  PATELLA_ASSIGN_OR_RETURN(demo.view, demo.local->WaitUntilReady());
  PATELLA_ASSIGN_OR_RETURN(demo.engine_limit, EngineLimit::Connect(demo.local->control_socket()));
  PATELLA_ASSIGN_OR_RETURN(demo.learned_engine_limit, demo.engine_limit->Get());
  return absl::OkStatus();
}

void FillReport(const Demo& demo, const Verdict& verdict, Report* report) {
  const std::string& file = demo.options.local.file;
  report->verdict = verdict.sentence;
  report->tone = verdict.tone;
  report->arms = verdict.arms;
  report->arms_title = StrCat(3 * demo.view.limit, " clients against a limit of ", demo.view.limit);
  report->figures = {{"limit", StrCat(demo.view.limit)},
                     {StrCat("p", Number(100 * demo.targets[0].quantile), " at 3× load"),
                      StrCat(Number(verdict.arms[0].p90_ms), " ms")},
                     {"without Patella", StrCat(Number(verdict.arms[1].p90_ms), " ms")},
                     {"goodput of the best", StrCat(Number(100 * verdict.goodput_share), " %")}};
  report->how.emplace_back("load",
                           "closed loop, five rounds of interleaved blocks, every other one in reverse order; refused "
                           "clients wait about 1 s (Retry-After)");
  report->how.emplace_back(
      "noise", StrCat("three of five blocks of the same fixed load agree within ", Number(100 * verdict.noise), " %"));
  report->next_commands = {
      StrCat(OwnCommand(), " up -f ", file),
      "curl http://127.0.0.1:8081/metrics    # while it is up; the status page is on the same port",
      StrCat(OwnCommand(),
             " tune http://127.0.0.1:8000 --target tpot:p90:50ms    # any OpenAI-compatible server that you run")};
}

std::string ArmsText(const Verdict& verdict, const std::string& title, const std::string& latency_name) {
  std::vector<std::vector<std::string>> rows = {{title, latency_name, "goodput tok/s", "completed", "429", "failed"}};
  for (const ReportArm& arm : verdict.arms) {
    rows.push_back({arm.name, Number(arm.p90_ms), Number(arm.goodput_tokens_per_second), StrCat(arm.completed),
                    StrCat(arm.refused), StrCat(arm.failed)});
  }
  return RenderTable(rows);
}

absl::Status WriteReport(const Report& report, const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, ignored);
  std::ofstream file(path);
  file << RenderHtml(report);
  file.close();
  return file ? absl::OkStatus()
              : absl::InvalidArgumentError(StrCat(path, ": cannot be written: choose another path with --report"));
}

absl::StatusOr<ExitCode> ShowDemo(Demo& demo) {
  PATELLA_RETURN_IF_ERROR(BringUp(demo));
  Report report = ReportOf(demo.view, demo.local->deployment());
  demo.progress = std::make_unique<Progress>();
  std::cout << ToText(report, isatty(STDOUT_FILENO) != 0) << "\n" << std::flush;
  PATELLA_ASSIGN_OR_RETURN(const std::vector<Measured> blocks, RunBlocks(demo));
  demo.progress.reset();
  const loadgen::LatencyTarget& target = demo.targets[0];
  const bool per_token = target.metric == loadgen::LatencyMetric::kTimePerOutputToken;
  const Verdict verdict =
      Judge(blocks, demo.view.limit, target.target_ms, target.quantile, per_token ? "ms/token" : "ms");
  FillReport(demo, verdict, &report);
  const std::string latency_name = StrCat("p", Number(100 * target.quantile), per_token ? " ms/token" : " ms");
  std::cout << ArmsText(verdict, report.arms_title, latency_name) << "\n" << verdict.sentence << "\n\n";
  PATELLA_RETURN_IF_ERROR(WriteReport(report, demo.options.report_path));
  std::cout << "report: " << demo.options.report_path << "\nnext:\n";
  for (const std::string& command : report.next_commands) std::cout << "  " << command << "\n";
  std::cout << std::flush;
  return verdict.code;
}

int RunDemo(const DemoOptions& options) {
  CatchInterrupts();
  Demo demo{.options = options};
  const absl::StatusOr<ExitCode> code = ShowDemo(demo);
  demo.progress.reset();
  demo.engine_limit.reset();
  if (demo.local != nullptr) demo.local->Stop(kGrace);
  return code.ok() ? *code : Fail(code.status());
}

}  // namespace

CLI::App* AddDemo(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<DemoOptions>();
  options->local.listen = options->local.admin = "127.0.0.1:0";
  CLI::App* demo = app.add_subcommand(
      "demo", "Find a model's limit, then hold it under three times its load: with and without Patella");
  demo->footer(
      "Brings the deployment up as `patella up` does, then loads it for about three minutes. Ends with one sentence, "
      "an HTML report and exit code 0\n"
      "if the limit held, 5 if it did not, 6 if the machine is too noisy to tell.\n\n"
      "  patella demo -f deploy/samples/smollm2.yaml --report report.html");
  demo->add_option("-f,--file", options->local.file, "an InferenceDeployment, YAML or JSON")->required();
  demo->add_option("--report", options->report_path, "the HTML report's path")->capture_default_str();
  demo->add_option("--seconds", options->seconds, "how long the whole may take; the shorter, the less it can tell")
      ->check(CLI::Range(30.0, 3600.0))
      ->capture_default_str();
  demo->add_option("--listen", options->local.listen, "address for clients; port 0: chosen by the kernel")
      ->capture_default_str();
  demo->add_option("--admin", options->local.admin, "address for metrics, health and the status page")
      ->capture_default_str();
  demo->add_option("--programs", options->local.programs,
                   "folder of patella-engine and patella-sidecar; default: beside this program");
  demo->callback([options, exit_code] { *exit_code = RunDemo(*options); });
  return demo;
}

}  // namespace patella::cli
