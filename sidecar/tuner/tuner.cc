#include "sidecar/tuner/tuner.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/science/closed_loop.h"
#include "lib/science/knee.h"
#include "lib/science/limit.h"
#include "lib/science/ramp.h"
#include "sidecar/tuner/live.h"

namespace patella::sidecar {
namespace {

constexpr int kMaxVerifies = 3;
constexpr double kSettled = 0.08;              // verify again if the limit moves more than that
constexpr double kKvShare = 0.95;
constexpr double kResumeShare = 0.8;
constexpr double kRampShare = 0.35;            // of the budget, for one pass of the ramp
constexpr double kLeastForVerify_s = 6;
constexpr double kVerifyMax_s = 30;
constexpr int kVerifyRequests = 30;            // fewer decide nothing about a 90th percentile
constexpr double kTimeout_s = 60;              // what platforms commonly give a request
constexpr size_t kMaxDecisions = 10;
constexpr double kLoaded = 0.8;  // share of the limit in flight from which a stream judges it

science::LatencyMetric MetricOf(const std::string& name) {
  if (name == "TimeToFirstToken") return science::LatencyMetric::kTimeToFirstToken;
  return name == "EndToEnd" ? science::LatencyMetric::kEndToEnd : science::LatencyMetric::kTimePerOutputToken;
}

std::vector<science::Target> TargetsOf(const TunerOptions& options) {
  std::vector<science::Target> targets;
  for (const TargetView& t : options.targets) targets.push_back({MetricOf(t.metric), t.quantile, t.target_ms});
  return targets;
}

science::KneeDefinition KneeOf(const std::string& name) {
  if (name == "HalfLatency") return science::KneeDefinition::kHalfLatency;
  return name == "Kleinrock" ? science::KneeDefinition::kKleinrock : science::KneeDefinition::kUtilization;
}

// The mean time per output token that ends the climb.
double ClimbTarget(const TunerOptions& options) {
  double target = science::kInfinity;
  for (const TargetView& t : options.targets) {
    if (t.metric == "TimePerOutputToken") target = std::min(target, t.target_ms);
    if (t.metric == "EndToEnd") target = std::min(target, t.target_ms / options.output_tokens);
  }
  return target;
}

}  // namespace

std::string_view NameOf(TunerState state) {
  constexpr std::string_view kNames[] = {"Boot", "WarmUp", "Ramp", "Verify", "Ready", "Degraded"};
  return kNames[static_cast<int>(state)];
}

struct Tuner::Science {
  std::unique_ptr<science::Ramp> ramp;
  std::unique_ptr<science::ClosedLoop> verify;
  std::unique_ptr<LiveTracker> tracker;
  science::RampResult curve;
  science::LimitInputs inputs;
  int ceiling = kDefaultCeiling;  // the user's, ours, or the engine's own limit
  int most = kDefaultCeiling;     // by ceiling and KV cache
  int best_passed = 0;
  bool doubtful = false;       // void ramps, or our own lateness: never high confidence
  std::string doubt;
  int peak_in_flight = 0;
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
double Tuner::BudgetLeft(double now_s) const { return options_.max_calibration_s - (now_s - calibration_began_s_); }

void Tuner::OnWaiting(std::string message) { view_.message = std::move(message); }

TunerActions Tuner::OnEngineMissing(std::string why, double now_s) {
  return Fail(kExitEngineGone, absl::StrCat("Calibration cannot go on: ", why), now_s);
}

TunerActions Tuner::OnEngineReady(const EngineFacts& facts, double now_s) {
  facts_ = facts;
  calibration_began_s_ = now_s;
  const int ceiling = options_.ceiling > 0 ? options_.ceiling : kDefaultCeiling;
  science_->ceiling = facts.max_concurrent_requests > 0 ? std::min(ceiling, facts.max_concurrent_requests) : ceiling;
  science_->most = science_->ceiling;
  if (facts.kv_capacity_tokens > 0) {
    view_.cap = static_cast<double>(facts.kv_capacity_tokens) / (options_.input_tokens + options_.output_tokens);
    science_->most = std::clamp(static_cast<int>(kKvShare * view_.cap), 1, science_->most);
  }
  if (options_.mode == TuningMode::kOff) {
    view_.bound_by = "Ceiling";
    return BecomeReady(ceiling, "High", "ceiling", "tuning is off", now_s);
  }
  if (const Resumed& resumed = options_.resumed; resumed.limit > 0) {
    view_.points = resumed.points;
    view_.a_ms = resumed.a_ms, view_.b_ms = resumed.b_ms;
    ShowKnees();
    view_.bound_by = resumed.bound_by;
    const int limit = std::max(1, static_cast<int>(kResumeShare * resumed.limit));
    return BecomeReady(limit, "Low", "resumed", absl::StrCat("80 % of ", resumed.limit, ", learned before a restart; live traffic verifies it"), now_s);
  }
  return BeginRamp(now_s);
}

TunerActions Tuner::BeginRamp(double now_s) {
  view_.state = TunerState::kWarmUp;
  view_.message = "warming the engine up";
  const double budget = std::max(1.0, BudgetLeft(now_s));
  science_->ramp = std::make_unique<science::Ramp>(science::RampConfig{.input_tokens = options_.input_tokens,
                                                                       .output_tokens = options_.output_tokens,
                                                                       .target_ms = ClimbTarget(options_),
                                                                       .max_concurrency = science_->most,
                                                                       .max_seconds = kRampShare * budget,
                                                                       .max_warm_up_seconds = kRampShare * budget,
                                                                       .max_total_tokens = facts_.max_total_tokens,
                                                                       .seed = options_.seed});
  return {RunProbe{science_->ramp.get(), budget}};
}

void Tuner::OnProgress(const science::ProbeProgress& progress, double) {
  const bool verifying = view_.state == TunerState::kVerify;
  if (!verifying) view_.state = progress.phase == "warm-up" ? TunerState::kWarmUp : TunerState::kRamp;
  const double fraction = verifying ? 0.6 + 0.39 * progress.fraction : 0.6 * progress.fraction;
  view_.progress = {progress.phase, progress.concurrency, progress.gap_ms, std::max(view_.progress.fraction, fraction)};
  view_.message = absl::StrFormat("%s at %d requests: %.1f ms per token", progress.phase, progress.concurrency, progress.gap_ms);
}

TunerActions Tuner::OnProbeEnd(const ProbeReport& report, double now_s) {
  view_.calibration_tokens += report.tokens;
  view_.calibration_seconds = now_s - calibration_began_s_;
  const bool ramping = science_->verify == nullptr;
  if (report.end == ProbeEnd::kEngineGone) {
    return Fail(kExitEngineGone, absl::StrCat("The engine went away during calibration: ", report.why), now_s);
  }
  if (report.end == ProbeEnd::kRefused) {
    return Fail(kExitEngineGone, absl::StrCat("The engine refuses the calibration's requests: ", report.why), now_s);
  }
  if (report.end == ProbeEnd::kTimedOut && ramping) {
    return Fail(kExitTooNoisy, absl::StrFormat("The calibration's budget of %.0f s ended within the ramp; raise MAX_CALIBRATION_SECONDS or "
                                               "lower WORKLOAD_OUTPUT_TOKENS", options_.max_calibration_s), now_s);
  }
  if (report.end == ProbeEnd::kGeneratorBound) {  // what was measured is a lower bound of what the engine can do
    science_->doubtful = true;
    science_->doubt = "the sidecar itself got too little CPU";
  }
  return ramping ? AfterRamp(now_s) : AfterVerify(now_s);
}

TunerActions Tuner::AfterRamp(double now_s) {
  Science& s = *science_;
  const absl::StatusOr<science::RampResult> result = s.ramp->Result();
  if (absl::IsUnavailable(result.status())) {
    return Fail(kExitEngineGone, absl::StrCat("The engine fails the calibration's requests: ", result.status().message()), now_s);
  }
  if (!result.ok() && !absl::IsAborted(result.status())) {
    return Fail(kExitTooNoisy, absl::StrCat("The engine cannot be measured: ", result.status().message()), now_s);
  }
  if (!result.ok()) {  // too noisy, says the return leg: a verification may still show that a limit holds
    s.doubtful = true;
    s.doubt = std::string(result.status().message());
  }
  s.curve = result.ok() ? *result : s.ramp->last_result();
  if (!s.curve.high_confidence && s.doubt.empty()) s.doubt = s.curve.remark;
  view_.points.clear();
  for (const science::CurvePoint& p : s.curve.end_to_end.points) {
    view_.points.push_back({p.concurrency, p.mean_ms_per_token, p.tokens_per_second, p.samples});
  }
  view_.a_ms = s.curve.fit.law.a_ms, view_.b_ms = s.curve.fit.law.b_ms, view_.fit_error_ratio = s.curve.fit.error_ratio;
  ShowKnees();
  s.inputs = science::InputsFrom(s.curve, options_.output_tokens);
  s.inputs.targets = TargetsOf(options_);
  if (std::isfinite(view_.cap)) s.inputs.kv_capacity = kKvShare * view_.cap;
  s.inputs.timeout_s = kTimeout_s;
  s.inputs.ceiling = s.ceiling;
  s.inputs.knee = KneeOf(options_.knee_definition);
  s.inputs.knee_utilization = options_.knee_utilization;
  return Solve(now_s, [&](int limit) { return BeginVerify(limit, now_s); });
}

TunerActions Tuner::Solve(double now_s, const std::function<TunerActions(int limit)>& then) {
  const absl::StatusOr<science::Limit> limit = science::ChooseLimit(science_->inputs);
  if (!limit.ok()) {
    const int code = absl::IsFailedPrecondition(limit.status()) ? kExitImpossibleTarget : kExitTooNoisy;
    return Fail(code, std::string(limit.status().message()), now_s);
  }
  view_.bound_by = std::string(science::NameOf(limit->bound_by));
  return then(std::clamp(limit->limit, 1, science_->most));
}

void Tuner::ShowKnees() {
  view_.knees.clear();
  science::KneeInputs inputs{.utilization = options_.knee_utilization, .kv_cap = view_.cap};
  for (const auto& knee : science::AllKnees({.a_ms = view_.a_ms, .b_ms = view_.b_ms, .cap = view_.cap}, inputs)) {
    view_.knees.push_back({std::string(science::NameOf(knee.definition)), knee.concurrency, knee.utilization});
  }
}

TunerActions Tuner::BeginVerify(int limit, double now_s) {
  const double left = BudgetLeft(now_s);
  if (left < kLeastForVerify_s) {
    const int safe = science_->best_passed > 0 ? science_->best_passed : std::max(1, static_cast<int>(kResumeShare * limit));
    return BecomeReady(safe, "Low", "budget", absl::StrFormat("calibration budget of %.0f s used up", options_.max_calibration_s), now_s);
  }
  view_.state = TunerState::kVerify;
  view_.message = absl::StrCat("verifying a limit of ", limit);
  science_->verify = std::make_unique<science::ClosedLoop>(
      science::ClosedLoopConfig{.concurrency = limit, .input_tokens = options_.input_tokens, .output_tokens = options_.output_tokens,
                                .min_requests = std::max(kVerifyRequests, 2 * limit), .max_seconds = std::min(kVerifyMax_s, left - 1),
                                .max_total_tokens = facts_.max_total_tokens, .targets = TargetsOf(options_),
                                .seed = options_.seed + view_.verify.size() + 1});
  return {RunProbe{science_->verify.get(), left}};
}

TunerActions Tuner::AfterVerify(double now_s) {
  Science& s = *science_;
  const absl::StatusOr<science::ClosedLoopResult> result = s.verify->Result();
  if (absl::IsUnavailable(result.status())) {
    return Fail(kExitEngineGone, absl::StrCat("The engine fails the verification's requests: ", result.status().message()), now_s);
  }
  if (!result.ok()) {
    return Fail(kExitTooNoisy, absl::StrCat("The limit cannot be verified: ", result.status().message()), now_s);
  }
  VerifyView verdict = Verdict(*result);
  view_.verify.push_back(verdict);
  const int at = verdict.concurrency;
  if (verdict.passed) s.best_passed = std::max(s.best_passed, at);
  science::CorrectBy(*result, options_.targets.empty() ? 0.9 : options_.targets.front().quantile, s.inputs);
  return Solve(now_s, [&](int solved) { return AfterSolvedAgain(verdict, solved, now_s); });
}

VerifyView Tuner::Verdict(const science::ClosedLoopResult& result) const {
  VerifyView verdict{.concurrency = result.concurrency, .mean_ms_per_token = result.mean_ms_per_token,
                     .tokens_per_second = result.tokens_per_second, .requests = static_cast<int>(result.requests.size())};
  const std::vector<science::Target> targets = TargetsOf(options_);
  const science::Verdict judged = science::Judge(result, targets);
  verdict.passed = judged != science::Verdict::kFail;
  for (size_t i = 0; i < targets.size(); ++i) {
    const double seen = result.QuantileMs(targets[i].metric, targets[i].quantile);
    if (i == 0) verdict.quantile_ms = seen;
    if (judged == science::Verdict::kUndecided) verdict.passed = verdict.passed && seen <= targets[i].target_ms;
  }
  if (targets.empty()) verdict.quantile_ms = result.QuantileMs(science::LatencyMetric::kTimePerOutputToken, 0.9);
  return verdict;
}

TunerActions Tuner::AfterSolvedAgain(const VerifyView& verdict, int solved, double now_s) {
  Science& s = *science_;
  const int at = verdict.concurrency;
  int next = std::clamp(solved, at / 2, at + std::max(1, at / 2));
  for (const VerifyView& v : view_.verify) {  // what has failed is not tried again, nor what lies above it
    if (!v.passed) next = std::min(next, v.concurrency - 1);
  }
  const std::string evidence = absl::StrFormat("%d requests at %d in flight: quantile %.1f ms, %.0f tokens/s%s", verdict.requests, at,
                                               verdict.quantile_ms, verdict.tokens_per_second, s.doubt.empty() ? "" : "; " + s.doubt);
  const bool settled = verdict.passed && (next <= at || next - at < std::max(1.0, kSettled * at));
  if (settled) return BecomeReady(at, s.doubtful ? "Low" : "High", "verified", evidence, now_s);
  if (next < 1) {
    return Fail(kExitImpossibleTarget, absl::StrFormat("The target cannot be met: even one request at a time misses it (%.1f ms at the "
                                                       "quantile)", verdict.quantile_ms), now_s);
  }
  if (static_cast<int>(view_.verify.size()) < kMaxVerifies && next != s.best_passed) return BeginVerify(next, now_s);
  if (s.best_passed > 0) return BecomeReady(s.best_passed, s.doubtful ? "Low" : "High", "verified", evidence, now_s);
  if (s.doubtful) return Fail(kExitTooNoisy, absl::StrCat("The machine is too noisy to measure: ", s.doubt), now_s);
  return BecomeReady(next, "Low", "unverified", evidence, now_s);
}

TunerActions Tuner::BecomeReady(int limit, const std::string& confidence, const std::string& reason, const std::string& evidence, double now_s) {
  science_->tracker = std::make_unique<LiveTracker>(options_.targets, limit, std::max(science_->most, limit));
  view_.state = TunerState::kReady;
  view_.progress = {"ready", limit, 0, 1};
  view_.confidence = confidence;
  view_.calibration_seconds = options_.mode == TuningMode::kOff ? 0 : now_s - calibration_began_s_;
  MoveLimit(limit, reason, evidence, now_s);
  view_.message = absl::StrCat("limit ", limit, ", bound by ", view_.bound_by);
  users_admitted_ = true;
  if (options_.mode == TuningMode::kAdvise) {
    const int enforced = options_.ceiling > 0 ? options_.ceiling : kDefaultCeiling;
    view_.message = absl::StrCat("advice: limit ", limit, ", bound by ", view_.bound_by, "; enforced is the ceiling of ", enforced);
    return {SetLimit{enforced}, AdmitUsers{}};
  }
  TunerActions actions = {SetLimit{limit, PromptBudget()}, AdmitUsers{}};
  if (options_.mode == TuningMode::kAuto && reason != "resumed") actions.push_back(Save{});
  return actions;
}

int64_t Tuner::PromptBudget() const {
  const science::RampResult& curve = science_->curve;
  const double ms_per_token = curve.prefill_ms_per_token > 0 ? curve.prefill_ms_per_token : curve.prefill_ms / options_.input_tokens;
  for (const TargetView& t : options_.targets) {
    if (t.metric != "TimeToFirstToken" || ms_per_token <= 0) continue;
    const double tokens = (0.9 * t.target_ms - curve.StepMs(view_.limit)) / ms_per_token;
    return std::max<int64_t>(options_.input_tokens, static_cast<int64_t>(tokens));
  }
  return 0;
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
  view_.decisions.push_back({.time_s = now_s, .what = "limit", .from = static_cast<double>(view_.limit), .to = static_cast<double>(limit),
                             .reason = reason, .evidence = evidence});
  if (view_.decisions.size() > kMaxDecisions) view_.decisions.erase(view_.decisions.begin());
  view_.limit = limit;
}

void Tuner::OnTokens(int, double, int in_flight, double) { science_->peak_in_flight = std::max(science_->peak_in_flight, in_flight); }

void Tuner::OnStream(const LiveStream& stream, double now_s) {
  if (!users_admitted_ || options_.mode != TuningMode::kAuto || science_->tracker == nullptr) return;
  std::vector<double> values;
  for (const TargetView& t : options_.targets) {
    values.push_back(t.metric == "TimePerOutputToken" ? stream.time_per_output_token_ms
                     : t.metric == "TimeToFirstToken" ? stream.time_to_first_token_ms
                                                      : stream.end_to_end_ms);
  }
  const bool loaded = science_->peak_in_flight >= kLoaded * science_->tracker->limit();
  science_->tracker->OnStream(stream.started_s, values, loaded, now_s);
}

TunerActions Tuner::OnTick(int in_flight, double now_s) {
  if (!users_admitted_ || options_.mode != TuningMode::kAuto) return {};
  const Move move = science_->tracker->OnTick(in_flight, now_s);
  science_->peak_in_flight = in_flight;
  if (move.limit == 0) return {};
  MoveLimit(move.limit, move.reason, move.evidence, now_s);
  view_.message = absl::StrCat("limit ", move.limit, ", bound by ", view_.bound_by, " (", move.reason, ")");
  return {SetLimit{move.limit, PromptBudget()}, Save{}};
}

}  // namespace patella::sidecar
