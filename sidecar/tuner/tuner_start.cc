// From the start to the first limit: what is remembered, what peers know, or a calibration; and what follows if that fails.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "sidecar/tuner/tuner_parts.h"

namespace patella::sidecar {
namespace {

constexpr double kResumeShare = 0.8;
constexpr double kGrace_s = 5;  // beyond the budget, for the calibration to end by itself
constexpr double kFirstRetry_s = 5, kLastRetry_s = 300;

}  // namespace

void Tuner::OnWaiting(std::string message) { view_.message = std::move(message); }

TunerActions Tuner::OnEngineMissing(std::string why, double now_s) {
  return End(kExitEngineGone, absl::StrCat("Calibration cannot go on: ", why), now_s);
}

TunerActions Tuner::OnEngineLost(std::string why, double now_s) {
  // In a cluster the running probe finds out by itself, and the next one waits for an engine that answers.
  if (users_admitted_ || view_.exit_code != 0 || options_.clustered) return {};
  return OnEngineMissing(std::move(why), now_s);
}

TunerActions Tuner::OnEngineReady(const EngineFacts& facts, double now_s) {
  facts_ = facts;
  FollowBounds();
  return Start(now_s);
}

// What is known already, else what peers know, else a calibration.
TunerActions Tuner::Start(double now_s) {
  calibration_began_s_ = now_s;
  retry_at_s_ = kNever;
  view_.progress = {};
  if (options_.mode == TuningMode::kOff) {
    view_.bound_by = "Ceiling";
    return BecomeReady(CeilingOf(options_), "High", "ceiling", "tuning is off", now_s);
  }
  // Objectives that came before the engine did (Follow) may be others than those it was learned under.
  if (options_.resumed.limit > 0 && options_.resumed.key == KeyOf(options_))
    return Resume(options_.resumed, "resumed", "learned before a restart", now_s);
  if (!options_.clustered) return BeginCalibration();
  asking_ = true;
  view_.state = TunerState::kBoot;
  view_.message = "asking the other replicas of this revision for what they have measured";
  return {AskPeers{}};
}

TunerActions Tuner::OnPeers(const std::vector<Learned>& peers, double now_s) {
  if (!std::exchange(asking_, false)) return {};
  if (options_.mode == TuningMode::kOff) return Start(now_s);
  const Learned* peer = Choose(peers, KeyOf(options_));
  if (peer == nullptr) return BeginCalibration();
  std::string source = absl::StrCat("measured by ", peer->pod);
  if (!peer->confidence.empty()) absl::StrAppend(&source, " (confidence ", peer->confidence, ")");
  return Resume(*peer, "peer", source, now_s);
}

// Begins with a limit that was learned elsewhere or before: cautiously where live traffic can raise it.
TunerActions Tuner::Resume(const Learned& from, const std::string& reason, const std::string& source, double now_s) {
  curve_payload_ = Workload();
  view_.points = from.points;
  view_.a_ms = from.a_ms, view_.b_ms = from.b_ms, view_.step_model = from.step_model;
  ShowKnees();
  view_.bound_by = from.bound_by;
  believed_ = std::min(from.limit, science_->most);
  if (believed_ < from.limit) view_.bound_by = science_->most < science_->ceiling ? "KvCapacity" : "Ceiling";
  if (options_.mode != TuningMode::kAuto || options_.targets.empty()) {  // no traffic would ever judge it
    return BecomeReady(believed_, from.confidence.empty() ? "Low" : from.confidence, reason, source, now_s);
  }
  const int limit = std::max(1, static_cast<int>(kResumeShare * believed_));
  return BecomeReady(limit, "Low", reason,
                     absl::StrCat("80 % of ", believed_, ", ", source, "; live traffic verifies it"), now_s);
}

TunerActions Tuner::BeginCalibration() {
  view_.state = TunerState::kWarmUp;
  view_.message = "warming the engine up";
  curve_payload_ = Workload();
  science_->calibration = std::make_unique<science::Calibration>(
      science::CalibrationConfig{.input_tokens = options_.input_tokens,
                                 .output_tokens = options_.output_tokens,
                                 .targets = options_.targets,
                                 .knee = options_.knee_definition,
                                 .knee_utilization = options_.knee_utilization,
                                 .ceiling = science_->ceiling,
                                 .kv_capacity = view_.cap,
                                 .max_total_tokens = facts_.max_total_tokens,
                                 .timeout_s = science::kPlatformTimeout_s,
                                 .max_seconds = std::max(1.0, options_.max_calibration_s),
                                 .seed = options_.seed});
  return {RunProbe{science_->calibration.get(), options_.max_calibration_s + kGrace_s}};
}

void Tuner::OnProgress(const science::ProbeProgress& progress, double) {
  view_.state = progress.phase == "warm-up"  ? TunerState::kWarmUp
                : progress.phase == "verify" ? TunerState::kVerify
                                             : TunerState::kRamp;
  view_.progress = {progress.phase, progress.concurrency, progress.gap_ms,
                    std::max(view_.progress.fraction, progress.fraction)};
  view_.message =
      absl::StrFormat("%s at %d requests: %.1f ms per token", progress.phase, progress.concurrency, progress.gap_ms);
  ShowCalibration();
}

// What is known so far: the curve once the ramp is over, then each verification.
void Tuner::ShowCalibration() {
  const science::CalibrationResult& known = science_->calibration->last_result();
  view_.phases.clear();
  for (const science::PhaseCost& cost : known.phases)
    view_.phases.push_back({cost.phase, cost.seconds, static_cast<long>(cost.tokens())});
  if (!known.has_curve) return;
  view_.points = known.ramp.end_to_end.points;
  const science::Fit& fit = known.ramp.fit;
  view_.a_ms = fit.law.a_ms, view_.b_ms = fit.law.b_ms, view_.fit_error_ratio = fit.error_ratio;
  view_.step_model = science::StepModelOf(known, curve_payload_);
  ShowKnees();
  view_.verify = known.verifications;
  view_.bound_by = std::string(science::NameOf(known.bound_by));
}

TunerActions Tuner::OnProbeEnd(const ProbeReport& report, double now_s) {
  view_.calibration_tokens += report.tokens;
  view_.calibration_seconds = now_s - calibration_began_s_;
  ShowCalibration();
  if (report.end == ProbeEnd::kEngineGone) {
    return Fail(kExitEngineGone, absl::StrCat("The engine went away during calibration: ", report.why), now_s);
  }
  if (report.end == ProbeEnd::kRefused) {
    return Fail(kExitEngineGone, absl::StrCat("The engine refuses the calibration's requests: ", report.why), now_s);
  }
  if (report.end == ProbeEnd::kTimedOut) {
    return Fail(
        kExitTooNoisy,
        absl::StrFormat("The calibration was not done within its budget of %.0f s; raise MAX_CALIBRATION_SECONDS or "
                        "lower WORKLOAD_OUTPUT_TOKENS",
                        options_.max_calibration_s),
        now_s);
  }
  const absl::StatusOr<science::CalibrationResult> result = science_->calibration->Result();
  if (!result.ok()) return Fail(result.status(), now_s);
  // Where we ourselves were late, what was measured is a lower bound of what the engine can do.
  const bool late = report.end == ProbeEnd::kGeneratorBound;
  const std::string evidence =
      late ? absl::StrCat(result->evidence, "; the sidecar itself got too little CPU") : result->evidence;
  believed_ = result->limit;
  return BecomeReady(result->limit, result->high_confidence && !late ? "High" : "Low", result->reason, evidence, now_s);
}

TunerActions Tuner::Fail(const absl::Status& status, double now_s) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return Fail(kExitEngineGone, absl::StrCat("The engine fails the calibration's requests: ", status.message()),
                  now_s);
    case absl::StatusCode::kOutOfRange:
      return Fail(kExitImpossibleTarget, std::string(status.message()), now_s);
    case absl::StatusCode::kAborted:
      return Fail(kExitTooNoisy, absl::StrCat("The machine is too noisy to measure: ", status.message()), now_s);
    default:
      return Fail(kExitTooNoisy, absl::StrCat("The engine cannot be measured: ", status.message()), now_s);
  }
}

TunerActions Tuner::Fail(int failure, std::string error, double now_s) {
  TunerActions end = End(failure, std::move(error), now_s);
  if (!options_.clustered) return end;
  view_.exit_code = 0;
  const bool impossible = failure == kExitImpossibleTarget;
  const double delay_s = impossible ? kLastRetry_s : std::min(kLastRetry_s, kFirstRetry_s * std::pow(2, failures_));
  failures_ = std::min(failures_ + 1, 10);
  retry_at_s_ = now_s + delay_s;
  absl::StrAppend(&view_.message, absl::StrFormat("; measured again in %.0f s", delay_s),
                  impossible ? ", or as soon as the objectives change" : "");
  return {Retry{delay_s}};
}

TunerActions Tuner::End(int failure, std::string error, double now_s) {
  view_.state = TunerState::kDegraded;
  view_.error = std::move(error);
  view_.message = view_.error;
  view_.failure = view_.exit_code = failure;
  view_.calibration_seconds = now_s - calibration_began_s_;
  return {Exit{failure}};
}

}  // namespace patella::sidecar
