#include <algorithm>
#include <memory>

#include "cli/bench/conclusions.h"
#include "cli/bench/options.h"
#include "cli/bench/progress.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/own_command.h"
#include "lib/base/text.h"
#include "lib/loadgen/load.h"

namespace patella::cli {
namespace {

constexpr char kFooter[] =
    "Each level is a closed loop: so many clients, each sends its next request when the last has ended. The first wave "
    "is not measured.\n\n"
    "Examples:\n"
    "  patella bench http://127.0.0.1:3000 --concurrency 1,2,4,8,16\n"
    "  patella bench http://127.0.0.1:8080 --concurrency 8 --target tpot:p90:50ms --html report.html\n"
    "  patella bench http://127.0.0.1:8000 --engine VLLM --input-tokens 512 --output-tokens 128 --output json\n\n"
    "Reading the table: `±95%` is the interval of tok/s; `tpot` is the time per output token without the first; "
    "`Little` is tok/s times\n"
    "latency over concurrency: far from 1, the figures do not fit each other and should not be trusted.\n"
    "Reading the knees: Kleinrock is careful (latency doubled), HalfLatency is bold, LatencyTarget is what you asked "
    "for.";

struct BenchOptions {
  CommonOptions common;
  std::vector<int> concurrency = {1, 2, 4, 8};
  int requests_per_level = 0;
  double seconds_per_level = 0;
};

int RequestsAt(const BenchOptions& options, int concurrency) {
  return options.requests_per_level > 0 ? options.requests_per_level : std::max(10, 3 * concurrency);
}

absl::Status Measure(const BenchOptions& options, const Session& session, Report& report) {
  Progress progress;
  double total = 0, done = 0;
  for (int c : options.concurrency) total += RequestsAt(options, c);
  std::string missed;
  for (const int c : options.concurrency) {
    const double share = RequestsAt(options, c) / total;
    loadgen::LoadOptions load{
        .concurrency = c,
        .shapes = {{.input_tokens = options.common.input_tokens, .output_tokens = options.common.output_tokens}},
        .max_requests = RequestsAt(options, c),
        .duration = FromSeconds(options.seconds_per_level),
        .seed = session.seed + c};
    load.on_progress = [&](double fraction) { progress.Show(done + share * fraction, StrCat(c, " at once")); };
    const loadgen::LoadResult result = loadgen::RunLoad(session.server.target, std::move(load));
    if (!result.status.ok()) return result.status;
    const loadgen::LoadSummary summary = loadgen::Summarize(result, session.targets);
    report.points.push_back(PointOf(summary, "bench"));
    if (summary.completed == 0) {
      return absl::ResourceExhaustedError(StrCat("at ", c, " at once no request was answered (", summary.refused,
                                                 " refused, ", summary.failed, " failed)"));
    }
    for (const loadgen::LatencyTarget& target : session.targets) {
      std::vector<double> values;
      for (const auto& record : result.records) {
        if (record.measured && record.ok()) values.push_back(loadgen::ValueOf(record, target.metric));
      }
      if (loadgen::Quantile(values, target.quantile) > target.target_ms && missed.empty())
        missed = StrCat(c, " at once misses ", loadgen::ToText(target));
    }
    done += share;
  }
  if (!missed.empty()) report.note = StrCat("Target: ", missed, ".");
  return absl::OkStatus();
}

int RunBench(BenchOptions options) {
  std::sort(options.concurrency.begin(), options.concurrency.end());
  options.concurrency.erase(std::unique(options.concurrency.begin(), options.concurrency.end()),
                            options.concurrency.end());
  absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return Fail(session.status());
  Report report;
  report.title = StrCat("Bench of ", Describe(session->server));
  report.subtitle = StrCat(options.common.input_tokens, " tokens in, ", options.common.output_tokens, " out");
  const TimePoint begun = SteadyClock().Now();
  if (absl::Status measured = Measure(options, *session, report); !measured.ok()) return Fail(measured);
  report.law = FitReportLaw(report.points);
  if (report.law) {
    report.knees = KneesOf(*report.law, KneeInputsOf(session->targets, options.common.input_tokens,
                                                     options.common.output_tokens, session->server.kv_capacity_tokens));
  }
  report.target = ReportTargetOf(session->targets);
  report.verdict = MeaningOf(report);
  report.how = {{"load from", ThisMachine()},
                {"took", StrCat(Number(Seconds(SteadyClock().Now() - begun)), " s")},
                {"seed", StrCat(session->seed)}};
  report.next_commands = {StrCat(OwnCommand(), " tune ", options.common.url, " --target tpot:p90:50ms"),
                          StrCat(OwnCommand(), " up -f deploy/samples/smollm2.yaml")};
  return Deliver(report, options.common, kOk);
}

}  // namespace

CLI::App* AddBench(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("bench", "Measure a server at given numbers of requests at once");
  auto options = std::make_shared<BenchOptions>();
  options->common.AddTo(*command);
  command->add_option("--concurrency", options->concurrency, "requests at once, a list: 1,2,4,8")
      ->delimiter(',')
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command
      ->add_option("--requests-per-level", options->requests_per_level,
                   "measured requests a level; 0: three for each client, at least 10")
      ->check(CLI::Range(0, 1000000));
  command
      ->add_option("--seconds-per-level", options->seconds_per_level,
                   "end a level after so long; 0: only by its requests")
      ->check(CLI::Range(0.0, 3600.0));
  command->footer(kFooter);
  command->callback([options, exit_code] { *exit_code = RunBench(*options); });
  return command;
}

}  // namespace patella::cli
