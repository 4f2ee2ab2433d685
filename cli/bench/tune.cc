#include <algorithm>
#include <cmath>
#include <memory>

#include "cli/bench/conclusions.h"
#include "cli/bench/options.h"
#include "cli/bench/progress.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/own_command.h"
#include "lib/base/text.h"
#include "lib/http/loop.h"
#include "lib/loadgen/probe_runner.h"
#include "lib/science/calibration.h"

namespace patella::cli {
namespace {

constexpr char kFooter[] =
    "Adds streams level by level (one ramp), fits the law R(c) = a + b·c, takes the limit that the law and the targets "
    "give, and verifies it\n"
    "with a closed loop; a limit that does not hold is corrected by what was measured, and verified again. As "
    "patella-sidecar does at its start.\n\n"
    "Examples:\n"
    "  patella tune http://127.0.0.1:3000 --target tpot:p90:50ms\n"
    "  patella tune http://127.0.0.1:8000 --target tpot:p90:50ms,ttft:p90:1s --input-tokens 512 --html report.html\n"
    "  patella tune http://127.0.0.1:3000                      without a target: the half-latency knee\n\n"
    "A target is impossible when one request alone already misses it, and missed when no limit was found that held.";

constexpr auto kKneeWithoutTarget = science::KneeDefinition::kHalfLatency;
constexpr double kGrace_s = 5;  // beyond the budget, for the calibration to end by itself

struct TuneOptions {
  CommonOptions common;
  int max_concurrency = 128;
  double max_seconds = 90;
};

science::CalibrationConfig ConfigOf(const TuneOptions& options, const Session& session) {
  science::CalibrationConfig config{.input_tokens = options.common.input_tokens,
                                    .output_tokens = options.common.output_tokens,
                                    .targets = session.targets,
                                    .knee = kKneeWithoutTarget,
                                    .ceiling = options.max_concurrency,
                                    .max_total_tokens = session.server.max_total_tokens,
                                    .max_seconds = options.max_seconds,
                                    .seed = session.seed};
  if (session.server.max_concurrent_requests > 0)
    config.ceiling = std::min(config.ceiling, session.server.max_concurrent_requests);
  if (session.server.kv_capacity_tokens > 0) {
    config.kv_capacity = static_cast<double>(session.server.kv_capacity_tokens) /
                         (options.common.input_tokens + options.common.output_tokens);
  }
  return config;
}

// Runs the calibration on a loop of its own. Ctrl-C ends it: dropping the runner closes its streams, so that the server
// forgets them.
absl::StatusOr<loadgen::ProbeOutcome> Run(const Session& session, science::Calibration& calibration,
                                          double max_seconds) {
  CatchInterrupts();
  Progress progress;
  http::Loop loop;
  loadgen::ProbeOutcome outcome;
  loadgen::ProbeOptions options{.deadline = FromSeconds(max_seconds + kGrace_s), .seed = session.seed};
  options.on_progress = [&](const science::ProbeProgress& now) {
    progress.Show(now.fraction, StrCat(now.phase, ": ", now.concurrency, " at once"));
  };
  auto runner = loadgen::ProbeRunner::Start(loop, session.server.target, calibration, std::move(options),
                                            [&](const loadgen::ProbeOutcome& result) {
                                              outcome = result;
                                              loop.Stop();
                                            });
  const auto watch = loop.Every(std::chrono::milliseconds(100), [&] {
    if (Interrupted()) loop.Stop();
  });
  loop.Run();
  runner.reset();
  if (Interrupted()) return absl::CancelledError("interrupted; the server is as it was");
  if (!outcome.status.ok()) return outcome.status;
  return outcome;
}

void AddPoints(const science::CalibrationResult& result, const Session& session, Report& report) {
  for (const science::CurvePoint& p : result.ramp.end_to_end.points) report.points.push_back(RampPoint(p));
  const bool per_token =
      session.targets.empty() || session.targets.front().metric == loadgen::LatencyMetric::kTimePerOutputToken;
  for (const science::Verification& v : result.verifications) report.points.push_back(VerifyPoint(v, per_token));
}

// How it ended, in a sentence, and the exit code for it.
int Judge(const science::CalibrationResult& result, const Session& session, Report& report) {
  const std::string what = session.targets.empty() ? "the half-latency knee" : report.target->text;
  if (result.noisy) {
    report.tone = Tone::kWarning;
    report.verdict =
        StrCat("Too noisy to tell: ", result.doubt, ". Give the server fewer other things to do and try again",
               result.limit > 0 ? StrCat("; until then ", result.limit, " held when it was tried") : "", ".");
    return kTooNoisy;
  }
  if (result.verifications.empty()) {
    report.tone = Tone::kBad;
    report.verdict = StrCat("No limit was verified (", result.evidence, "); ", result.limit, " is a guess.");
    return kTargetMissed;
  }
  if (result.reason != "verified") {
    report.tone = Tone::kBad;
    report.verdict =
        StrCat("No limit held ", what, " when it was verified (", result.evidence, "); ", result.limit, " is a guess.");
    return kTargetMissed;
  }
  report.tone = Tone::kGood;
  report.verdict =
      StrCat("Limit ", result.limit, ": bound by ", report.bound_by, "; verified with ", result.evidence, ".");
  return kOk;
}

int Conclude(const TuneOptions& options, const Session& session, const science::CalibrationResult& result,
             const loadgen::ProbeOutcome& outcome, Report& report) {
  AddPoints(result, session, report);
  const science::Fit& fit = result.ramp.fit;
  report.law = ReportLaw{fit.law.a_ms, fit.law.b_ms, std::nullopt, fit.error_ratio};
  if (std::isfinite(fit.law.cap)) report.law->cap = fit.law.cap;
  report.target = ReportTargetOf(session.targets);
  if (result.limit > 0) report.limit = result.limit;
  report.bound_by = std::string(science::NameOf(result.bound_by));
  report.knees = KneesOf(*report.law,
                         KneeInputsOf(session.targets, options.common.input_tokens, options.common.output_tokens,
                                      session.server.kv_capacity_tokens),
                         report.limit ? KneeBehind(report.bound_by, kKneeWithoutTarget) : "");
  const int64_t tokens = outcome.prompt_tokens + outcome.output_tokens;
  report.how = {{"law", StrCat("a in ", Number(fit.a_ms.low), " … ", Number(fit.a_ms.high), ", b in ",
                               Number(fit.b_ms.low), " … ", Number(fit.b_ms.high), " ms (90 %)")},
                {"tokens spent", StrCat(tokens)},
                {"seconds", Number(outcome.seconds)}};
  for (const science::PhaseCost& cost : result.phases) {
    report.how.push_back({StrCat("  ", cost.phase), StrCat(Number(cost.seconds), " s, ", cost.tokens(), " tokens")});
  }
  report.how.push_back({"load from", ThisMachine()});
  report.how.push_back({"seed", StrCat(session.seed)});
  report.figures = {{"requests at once", report.limit ? StrCat(*report.limit) : "none"},
                    {"seconds", Number(outcome.seconds)},
                    {"tokens spent", StrCat(tokens)}};
  report.next_commands = {StrCat(OwnCommand(), " bench ", options.common.url, " --concurrency 1,2,4,8,16"),
                          StrCat(OwnCommand(), " up -f deploy/samples/smollm2.yaml")};
  if (outcome.generator_bound)
    report.note = "This machine was too busy to send the load in time: what was measured is a lower bound.";
  return Judge(result, session, report);
}

int RunTune(const TuneOptions& options) {
  absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return Fail(session.status());
  Report report;
  report.title = StrCat("Tuning of ", Describe(session->server));
  report.subtitle = StrCat(options.common.input_tokens, " tokens in, ", options.common.output_tokens,
                           " out; one ramp of growing concurrency");
  science::Calibration calibration(ConfigOf(options, *session));
  const absl::StatusOr<loadgen::ProbeOutcome> outcome = Run(*session, calibration, options.max_seconds);
  if (!outcome.ok()) return Fail(outcome.status());
  const absl::StatusOr<science::CalibrationResult> result = calibration.Result();
  if (!result.ok() && !absl::IsAborted(result.status())) return Fail(result.status());
  const int code = Conclude(options, *session, calibration.last_result(), *outcome, report);
  return Deliver(report, options.common, code);
}

}  // namespace

CLI::App* AddTune(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand("tune", "Find how many requests at once a server may take");
  auto options = std::make_shared<TuneOptions>();
  options->common.AddTo(*command);
  command->add_option("--max-concurrency", options->max_concurrency, "never try more requests at once")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--max-seconds", options->max_seconds, "of the whole calibration")
      ->check(CLI::Range(5.0, 3600.0))
      ->capture_default_str();
  command->footer(kFooter);
  command->callback([options, exit_code] { *exit_code = RunTune(*options); });
  return command;
}

}  // namespace patella::cli
