#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <set>

#include "cli/bench/conclusions.h"
#include "cli/bench/options.h"
#include "cli/bench/progress.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "lib/adapters/text.h"
#include "lib/loadgen/load.h"

namespace patella::cli {
namespace {

constexpr char kFooter[] =
    "Doubles the requests at once until a target is missed or throughput stops growing, fits the law R(c) = a + b·c, takes the limit\n"
    "that the law and the targets give, and verifies it with a load of its own; a limit that does not hold is lowered and verified again.\n\n"
    "Examples:\n"
    "  patella tune http://127.0.0.1:3000 --target tpot:p90:50ms\n"
    "  patella tune http://127.0.0.1:8000 --target tpot:p90:50ms,ttft:p90:1s --input-tokens 512 --html report.html\n"
    "  patella tune http://127.0.0.1:3000                      without a target: the half-latency knee\n\n"
    "Exit codes: 4 when one request alone already misses a target, 5 when no verified limit was found.";

constexpr double kEnoughGain = 1.10;  // doubling that brings less is past every knee
constexpr int kMaxVerifications = 6;
constexpr double kHalfLatency = 2.513;

struct TuneOptions {
  CommonOptions common;
  int max_concurrency = 64;
};

// One closed loop at c: its summary, and by how much the tightest target is missed (> 1) or kept (≤ 1).
struct Level {
  loadgen::LoadSummary summary;
  double tightness = 0;
  std::string tightest;
  double tightest_ms = 0;
};

class Tuning {
 public:
  Tuning(const TuneOptions& options, const Session& session) : options_(options), session_(session) {}

  absl::Status Run(Report& report) {
    if (absl::Status status = Climb(report); !status.ok()) return status;
    report.law = FitReportLaw(report.points);
    return Verify(report);
  }

  int64_t tokens() const { return tokens_; }

 private:
  absl::StatusOr<Level> MeasureAt(int c, int requests, const std::string& phase, double from, double to) {
    loadgen::LoadOptions load{.concurrency = c,
                              .shapes = {{.input_tokens = options_.common.input_tokens, .output_tokens = options_.common.output_tokens}},
                              .max_requests = requests, .seed = session_.seed + 1000 * ++runs_};
    load.on_progress = [&](double fraction) { progress_.Show(from + (to - from) * fraction, Cat(phase, ": ", c, " at once")); };
    const loadgen::LoadResult result = loadgen::RunLoad(session_.server.target, std::move(load));
    if (!result.status.ok()) return result.status;
    for (const auto& arrival : result.arrivals) tokens_ += arrival.tokens;
    Level level{.summary = loadgen::Summarize(result, session_.targets)};
    if (level.summary.completed == 0) {
      return absl::ResourceExhaustedError(Cat("at ", c, " at once the server answered no request (", level.summary.refused, " refused, ",
                                              level.summary.failed, " failed)"));
    }
    for (const loadgen::LatencyTarget& target : session_.targets) {
      std::vector<double> values;
      for (const auto& record : result.records) {
        if (record.measured && record.ok()) values.push_back(loadgen::ValueOf(record, target.metric));
      }
      const double value = loadgen::Quantile(values, target.quantile);
      if (value / target.limit_ms <= level.tightness) continue;
      level.tightness = value / target.limit_ms;
      level.tightest = loadgen::ToText(target);
      level.tightest_ms = value;
    }
    return level;
  }

  absl::Status Climb(Report& report) {
    double before = 0;
    for (int c = 1, step = 0; c <= options_.max_concurrency; c *= 2, ++step) {
      const double from = std::min(0.7, 0.12 * step);
      absl::StatusOr<Level> level = MeasureAt(c, std::max(6, 2 * c), "ramp", from, from + 0.1);
      if (!level.ok()) return level.status();
      report.points.push_back(PointOf(level->summary, "ramp"));
      if (c == 1 && level->tightness > 1) {
        return absl::OutOfRangeError(Cat("the target \"", level->tightest, "\" is impossible here: one request alone takes ",
                                         Number(level->tightest_ms), " ms; use a higher target or a faster server"));
      }
      climbed_.push_back({c, level->tightness});
      if (level->tightness > 1.15 || level->summary.refused > 0) break;
      if (c > 1 && level->summary.tokens_per_second < kEnoughGain * before) break;
      before = level->summary.tokens_per_second;
    }
    return absl::OkStatus();
  }

  // Where the tightness passes 1, interpolated between the levels; without a target the half-latency knee.
  int Candidate(const Report& report) const {
    if (session_.targets.empty()) {
      const double knee = report.law ? kHalfLatency * report.law->a_ms / report.law->b_ms : climbed_.back().first;
      return std::clamp(static_cast<int>(knee), 1, options_.max_concurrency);
    }
    for (size_t i = 1; i < climbed_.size(); ++i) {
      const auto [c0, t0] = climbed_[i - 1];
      const auto [c1, t1] = climbed_[i];
      if (t1 > 1) return std::max(c0, static_cast<int>(c0 + (c1 - c0) * std::clamp((1 - t0) / (t1 - t0), 0.0, 1.0)));
    }
    return climbed_.back().first;
  }

  absl::Status Verify(Report& report) {
    int c = Candidate(report), best = 0, failed_at = options_.max_concurrency + 1;
    std::set<int> tried;
    for (int i = 0; i < kMaxVerifications && c >= 1 && c < failed_at && tried.insert(c).second; ++i) {
      absl::StatusOr<Level> level = MeasureAt(c, std::max(12, 3 * c), "verify", 0.75 + 0.04 * i, 0.79 + 0.04 * i);
      if (!level.ok()) return level.status();
      report.points.push_back(PointOf(level->summary, "verify"));
      const bool held = level->tightness <= 1 && level->summary.refused == 0;
      if (held) {
        best = c;
        report.limit = c;
        verified_ms_ = level->tightest_ms;
        goodput_ = level->summary.goodput;
        const int up = c + std::max(1, c / 8);
        c = session_.targets.empty() || level->tightness > 0.93 ? c : std::min(up, failed_at - 1);
        if (c == best) break;
      } else {
        failed_at = c;
        c = best > 0 ? (best + c) / 2 : std::min(c - 1, static_cast<int>(c / std::min(1.5, level->tightness)));
      }
    }
    progress_.Clear();
    report.bound_by = session_.targets.empty() ? "half-latency knee" : "latency target";
    return absl::OkStatus();
  }

 public:
  double verified_ms_ = 0, goodput_ = 0;

 private:
  const TuneOptions& options_;
  const Session& session_;
  Progress progress_;
  std::vector<std::pair<int, double>> climbed_;
  int64_t tokens_ = 0;
  uint64_t runs_ = 0;
};

void Conclude(const TuneOptions& options, const Session& session, const Tuning& tuning, double seconds, Report& report) {
  if (!session.targets.empty()) {
    const loadgen::LatencyTarget& first = session.targets.front();
    report.target = ReportTarget{loadgen::ToText(first), first.limit_ms, first.metric == loadgen::LatencyMetric::kTimePerOutputToken};
  }
  const int kv = session.server.kv_capacity_tokens / (options.common.input_tokens + options.common.output_tokens);
  const bool targeted = !session.targets.empty() && report.limit;
  if (report.law) report.knees = KneesOf(*report.law, targeted ? std::optional<double>(*report.limit) : std::nullopt, kv);
  if (!report.limit) {
    report.verdict = "No limit held its targets when it was verified: give the server fewer other things to do, or raise the target.";
    report.tone = Tone::kBad;
  } else if (session.targets.empty()) {
    report.verdict = Cat("Limit ", *report.limit, ": the half-latency knee. ", MeaningOf(report));
    report.tone = Tone::kGood;
  } else {
    report.verdict = Cat("Limit ", *report.limit, ": ", report.target->text, " is held with ", Number(tuning.verified_ms_), " ms at ",
                         Number(tuning.goodput_), " tokens/s within the target.");
    report.tone = Tone::kGood;
  }
  report.how = {{"tokens spent", Cat(tuning.tokens())}, {"seconds", Number(seconds)}, {"load from", ThisMachine()}, {"seed", Cat(session.seed)}};
  report.figures = {{"requests at once", report.limit ? Cat(*report.limit) : "none"}, {"seconds", Number(seconds)}, {"tokens spent", Cat(tuning.tokens())}};
  report.next_commands = {Cat("patella bench ", options.common.url, " --concurrency 1,2,4,8,16"), "patella up -f deploy/samples/smollm2.yaml"};
}

int RunTune(const TuneOptions& options) {
  absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return Fail(session.status());
  Report report;
  report.title = Cat("Tuning of ", Describe(session->server));
  report.subtitle = Cat(options.common.input_tokens, " tokens in, ", options.common.output_tokens, " out");
  const TimePoint begun = SteadyClock().Now();
  Tuning tuning(options, *session);
  if (absl::Status tuned = tuning.Run(report); !tuned.ok()) return Fail(tuned);
  Conclude(options, *session, tuning, Seconds(SteadyClock().Now() - begun), report);
  return Deliver(report, options.common, report.limit ? kOk : kTargetMissed);
}

}  // namespace

CLI::App* AddTune(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("tune", "Find how many requests at once a server may take");
  auto options = std::make_shared<TuneOptions>();
  options->common.AddTo(*command);
  command->add_option("--max-concurrency", options->max_concurrency, "never try more requests at once")->check(CLI::Range(1, 4096))->capture_default_str();
  command->footer(kFooter);
  command->callback([options, exit_code] { *exit_code = RunTune(*options); });
  return command;
}

}  // namespace patella::cli
