#include "sidecar/tuner/tuner.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/science/calibration.h"
#include "lib/science/knee.h"

namespace patella::sidecar {
namespace {

constexpr double kResumeShare = 0.8;
constexpr double kTimeout_s = 60;  // what platforms commonly give a request
constexpr double kGrace_s = 5;     // beyond the budget, for the calibration to end by itself
constexpr size_t kMaxDecisions = 10;
constexpr double kBudgetDeadBand = 0.1;

science::LatencyMetric MetricOf(const std::string& name) {
  if (name == "TimeToFirstToken") return science::LatencyMetric::kTimeToFirstToken;
  return name == "EndToEnd" ? science::LatencyMetric::kEndToEnd : science::LatencyMetric::kTimePerOutputToken;
}

std::vector<science::Target> TargetsOf(const TunerOptions& options) {
  std::vector<science::Target> targets;
  for (const TargetView& t : options.targets) targets.push_back({MetricOf(t.metric), t.quantile, t.target_ms});
  return targets;
}

int CeilingOf(const TunerOptions& options) { return options.ceiling > 0 ? options.ceiling : kDefaultCeiling; }

science::KneeDefinition KneeOf(const std::string& name) {
  if (name == "HalfLatency") return science::KneeDefinition::kHalfLatency;
  return name == "Kleinrock" ? science::KneeDefinition::kKleinrock : science::KneeDefinition::kUtilization;
}

}  // namespace

std::string_view NameOf(TunerState state) {
  constexpr std::string_view kNames[] = {"Boot", "WarmUp", "Ramp", "Verify", "Ready", "Degraded"};
  return kNames[static_cast<int>(state)];
}

struct Tuner::Science {
  std::unique_ptr<science::Calibration> calibration;
  std::unique_ptr<science::LimitTracker> tracker;
  int ceiling = kDefaultCeiling;  // the user's, ours, or the engine's own limit
  int most = kDefaultCeiling;     // by ceiling and KV cache
};

Tuner::Tuner(TunerOptions options) : options_(std::move(options)), science_(std::make_unique<Science>()) {
  view_.targets = options_.targets;
  view_.ceiling = options_.ceiling;
  view_.input_tokens = options_.input_tokens;
  view_.output_tokens = options_.output_tokens;
  view_.message = "waiting for the engine";
}

Tuner::~Tuner() = default;

bool Tuner::calibrating() const { return !users_admitted_ && view_.exit_code == 0; }

void Tuner::OnWaiting(std::string message) { view_.message = std::move(message); }

TunerActions Tuner::OnEngineMissing(std::string why, double now_s) {
  return Fail(kExitEngineGone, absl::StrCat("Calibration cannot go on: ", why), now_s);
}

TunerActions Tuner::OnEngineReady(const EngineFacts& facts, double now_s) {
  facts_ = facts;
  calibration_began_s_ = now_s;
  if (facts.kv_capacity_tokens > 0)
    view_.cap = static_cast<double>(facts.kv_capacity_tokens) / (options_.input_tokens + options_.output_tokens);
  FollowCeiling();
  if (options_.mode == TuningMode::kOff) {
    view_.bound_by = "Ceiling";
    return BecomeReady(CeilingOf(options_), "High", "ceiling", "tuning is off", now_s);
  }
  if (const Resumed& resumed = options_.resumed; resumed.limit > 0) {
    view_.points = resumed.points;
    view_.a_ms = resumed.a_ms, view_.b_ms = resumed.b_ms, view_.step_model = resumed.step_model;
    ShowKnees();
    view_.bound_by = resumed.bound_by;
    const int limit = std::max(1, static_cast<int>(kResumeShare * resumed.limit));
    return BecomeReady(limit, "Low", "resumed",
                       absl::StrCat("80 % of ", resumed.limit, ", learned before a restart; live traffic verifies it"),
                       now_s);
  }
  return BeginCalibration();
}

TunerActions Tuner::BeginCalibration() {
  view_.state = TunerState::kWarmUp;
  view_.message = "warming the engine up";
  science_->calibration = std::make_unique<science::Calibration>(
      science::CalibrationConfig{.input_tokens = options_.input_tokens,
                                 .output_tokens = options_.output_tokens,
                                 .targets = TargetsOf(options_),
                                 .knee = KneeOf(options_.knee_definition),
                                 .knee_utilization = options_.knee_utilization,
                                 .ceiling = science_->ceiling,
                                 .kv_capacity = view_.cap,
                                 .max_total_tokens = facts_.max_total_tokens,
                                 .timeout_s = kTimeout_s,
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
  view_.points.clear();
  for (const science::CurvePoint& p : known.ramp.end_to_end.points) {
    view_.points.push_back({p.concurrency, p.mean_ms_per_token, p.tokens_per_second, p.samples});
  }
  const science::Fit& fit = known.ramp.fit;
  view_.a_ms = fit.law.a_ms, view_.b_ms = fit.law.b_ms, view_.fit_error_ratio = fit.error_ratio;
  view_.step_model = science::StepModelOf(known.ramp, options_.input_tokens);
  ShowKnees();
  view_.verify.clear();
  for (const science::Verification& v : known.verifications) {
    view_.verify.push_back(
        {v.concurrency, v.quantile_ms, v.mean_ms_per_token, v.tokens_per_second, v.passed, v.requests});
  }
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

void Tuner::ShowKnees() {
  view_.knees.clear();
  science::KneeInputs inputs{.utilization = options_.knee_utilization, .kv_cap = view_.cap};
  for (const auto& knee : science::AllKnees({.a_ms = view_.a_ms, .b_ms = view_.b_ms, .cap = view_.cap}, inputs)) {
    view_.knees.push_back({std::string(science::NameOf(knee.definition)), knee.concurrency, knee.utilization});
  }
}

TunerActions Tuner::BecomeReady(int limit, const std::string& confidence, const std::string& reason,
                                const std::string& evidence, double now_s) {
  if (options_.mode == TuningMode::kAuto) Track(reason == "resumed" ? options_.resumed.limit : limit, limit);
  view_.state = TunerState::kReady;
  view_.progress = {"ready", limit, 0, 1};
  view_.confidence = confidence;
  view_.calibration_seconds = options_.mode == TuningMode::kOff ? 0 : now_s - calibration_began_s_;
  MoveLimit(limit, reason, evidence, now_s);
  view_.message = absl::StrCat("limit ", limit, ", bound by ", view_.bound_by);
  users_admitted_ = true;
  if (options_.mode == TuningMode::kAdvise) {
    const int enforced = CeilingOf(options_);
    view_.message =
        absl::StrCat("advice: limit ", limit, ", bound by ", view_.bound_by, "; enforced is the ceiling of ", enforced);
    return {SetLimit{enforced}, AdmitUsers{}};
  }
  TunerActions actions = {SetLimit{limit, PromptBudget()}, AdmitUsers{}};
  if (options_.mode == TuningMode::kAuto && reason != "resumed") actions.push_back(Save{});
  if (std::exchange(policy_changed_, false)) {
    for (TunerAction& action : Enforce(now_s)) actions.push_back(std::move(action));
  }
  return actions;
}

void Tuner::FollowCeiling() {
  const int ceiling = CeilingOf(options_);
  const int engine = facts_.max_concurrent_requests;
  // An engine that takes its limit from us is no bound: it follows.
  science_->ceiling = engine > 0 && !facts_.limit_follows ? std::min(ceiling, engine) : ceiling;
  science_->most =
      std::isfinite(view_.cap) ? std::clamp(static_cast<int>(view_.cap), 1, science_->ceiling) : science_->ceiling;
}

TunerActions Tuner::Follow(const TunerPolicy& policy, double now_s) {
  if (policy == TunerPolicy{options_.mode, options_.targets, options_.ceiling}) return {};
  options_.mode = policy.mode;
  options_.targets = view_.targets = policy.targets;
  options_.ceiling = view_.ceiling = policy.ceiling;
  FollowCeiling();
  if (users_admitted_) return Enforce(now_s);
  policy_changed_ = true;
  return {};
}

// The options are others than those that the limit in force came from.
TunerActions Tuner::Enforce(double now_s) {
  const int ceiling = CeilingOf(options_);
  if (options_.mode != TuningMode::kAuto) {
    const bool off = options_.mode == TuningMode::kOff;
    if (off) MoveLimit(ceiling, "ceiling", "tuning is off", now_s);
    if (off) view_.bound_by = "Ceiling";
    view_.message = absl::StrCat(off ? "limit " : "advice only; enforced is the ceiling of ", ceiling);
    return {SetLimit{ceiling}};
  }
  if (science_->tracker == nullptr) {
    if (view_.points.empty() && view_.a_ms <= 0) {  // nothing was ever measured
      view_.message = "nothing has been measured yet: tuning begins when this replica starts again";
      MoveLimit(std::min(view_.limit, ceiling), "ceiling", absl::StrCat("the ceiling is ", ceiling), now_s);
      return {SetLimit{view_.limit}};
    }
    Track(view_.limit, std::min(view_.limit, science_->most));
  }
  const science::TrackMove move = science_->tracker->Retarget(TargetsOf(options_), science_->most, now_s);
  const int limit = science_->tracker->limit();
  if (move.limit != 0 || limit != view_.limit) {
    std::string evidence = absl::StrCat("the ceiling is ", ceiling);
    for (const TargetView& t : options_.targets) {
      absl::StrAppend(&evidence, ", ", t.metric, absl::StrFormat(" p%.0f ≤ %.0f ms", 100 * t.quantile, t.target_ms));
    }
    MoveLimit(limit, move.reason.empty() ? "objectives" : move.reason, evidence, now_s);
  }
  if (limit >= science_->most && limit == ceiling) {
    view_.bound_by = "Ceiling";
  } else if (view_.bound_by == "Ceiling" || move.reason == "objectives") {
    view_.bound_by = options_.targets.empty() ? "Knee" : options_.targets.front().metric;
  }
  view_.message = absl::StrCat("limit ", limit, ", bound by ", view_.bound_by);
  return {SetLimit{limit, PromptBudget()}, Save{}};
}

int64_t Tuner::PromptBudget() {
  prompt_budget_ = science_->tracker == nullptr ? 0 : science_->tracker->PromptBudget();
  return prompt_budget_;
}

void Tuner::Track(int believed, int start) {
  science_->tracker =
      std::make_unique<science::LimitTracker>(science::TrackConfig{.model = view_.step_model,
                                                                   .input_tokens = options_.input_tokens,
                                                                   .output_tokens = options_.output_tokens,
                                                                   .targets = TargetsOf(options_),
                                                                   .believed = believed,
                                                                   .start = start,
                                                                   .most = std::max(science_->most, start)});
}

TunerActions Tuner::Fail(int exit_code, std::string error, double now_s) {
  view_.state = TunerState::kDegraded;
  view_.error = std::move(error);
  view_.message = view_.error;
  view_.exit_code = exit_code;
  view_.calibration_seconds = now_s - calibration_began_s_;
  return {Exit{exit_code}};
}

void Tuner::MoveLimit(int limit, const std::string& reason, const std::string& evidence, double now_s) {
  view_.decisions.push_back({.time_s = now_s,
                             .what = "limit",
                             .from = static_cast<double>(view_.limit),
                             .to = static_cast<double>(limit),
                             .reason = reason,
                             .evidence = evidence});
  if (view_.decisions.size() > kMaxDecisions) view_.decisions.erase(view_.decisions.begin());
  view_.limit = limit;
}

bool Tuner::tracking() const {
  return users_admitted_ && options_.mode == TuningMode::kAuto && science_->tracker != nullptr;
}

void Tuner::OnPromptComputed(int prompt_tokens) {
  if (tracking()) science_->tracker->OnPromptComputed(prompt_tokens);
}

void Tuner::OnTokens(int tokens, double gap_ms, int in_flight) {
  if (tracking()) science_->tracker->OnTokens(tokens, gap_ms, in_flight);
}

void Tuner::OnStream(const science::TrackedStream& stream) {
  if (tracking()) science_->tracker->OnStream(stream);
}

TunerActions Tuner::OnTick(int in_flight, double now_s) {
  if (!tracking()) return {};
  const science::TrackMove move = science_->tracker->OnTick(in_flight, now_s);
  if (move.limit == 0) {
    const int64_t before = prompt_budget_;
    const bool moved = std::abs(PromptBudget() - before) > kBudgetDeadBand * static_cast<double>(before);
    if (!moved) prompt_budget_ = before;
    return moved ? TunerActions{SetLimit{view_.limit, prompt_budget_}} : TunerActions{};
  }
  MoveLimit(move.limit, move.reason, move.evidence, now_s);
  view_.message = absl::StrCat("limit ", move.limit, ", bound by ", view_.bound_by, " (", move.reason, ")");
  return {SetLimit{move.limit, PromptBudget()}, Save{}};
}

}  // namespace patella::sidecar
