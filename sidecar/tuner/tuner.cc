#include "sidecar/tuner/tuner.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/science/knee.h"
#include "lib/science/limit.h"
#include "sidecar/tuner/tuner_parts.h"

namespace patella::sidecar {
namespace {

constexpr size_t kMaxDecisions = 10;
constexpr double kBudgetDeadBand = 0.1;

std::string TextOf(const science::Payload& workload) {
  return absl::StrFormat("requests of %.0f + %.0f tokens", workload.input_tokens, workload.output_tokens);
}

}  // namespace

std::string_view NameOf(TunerState state) {
  constexpr std::string_view kNames[] = {"Boot", "WarmUp", "Ramp", "Verify", "Ready", "Degraded"};
  return kNames[static_cast<int>(state)];
}

Tuner::Tuner(TunerOptions options) : options_(std::move(options)), science_(std::make_unique<Science>()) {
  ShowOptions();
  view_.message = "waiting for the engine";
}

Tuner::~Tuner() = default;

void Tuner::ShowOptions() {
  view_.targets = options_.targets;
  view_.ceiling = options_.ceiling;
  view_.input_tokens = options_.input_tokens;
  view_.output_tokens = options_.output_tokens;
}

void Tuner::ShowKnees() {
  view_.knees.clear();
  const science::KneeInputs inputs{.target_ms = science::TightestMsPerToken(options_.targets, options_.output_tokens),
                                   .utilization = options_.knee_utilization,
                                   .kv_cap = view_.cap,
                                   .timeout_s = science::kPlatformTimeout_s,
                                   .output_tokens = options_.output_tokens};
  for (const auto& knee : science::AllKnees({.a_ms = view_.a_ms, .b_ms = view_.b_ms, .cap = view_.cap}, inputs)) {
    view_.knees.push_back({std::string(science::NameOf(knee.definition)), knee.concurrency, knee.utilization});
  }
}

TunerActions Tuner::BecomeReady(int limit, const std::string& confidence, const std::string& reason,
                                const std::string& evidence, double now_s) {
  if (options_.mode == TuningMode::kAuto) Track(believed_, limit);
  view_.state = TunerState::kReady;
  view_.progress = {"ready", limit, 0, 1};
  view_.confidence = confidence;
  view_.error.clear();
  view_.failure = failures_ = 0;
  view_.calibration_seconds = options_.mode == TuningMode::kOff ? 0 : now_s - calibration_began_s_;
  MoveLimit(limit, reason, evidence, now_s);
  users_admitted_ = true;
  TunerActions actions = {LimitInForce(), AdmitUsers{}};
  if (options_.mode == TuningMode::kAuto && reason != "resumed") actions.push_back(Save{});
  if (std::exchange(policy_changed_, false)) {
    for (TunerAction& action : Enforce(now_s)) actions.push_back(std::move(action));
  }
  return actions;
}

science::Payload Tuner::Workload() const {
  return {static_cast<double>(options_.input_tokens), static_cast<double>(options_.output_tokens)};
}

void Tuner::FollowBounds() {
  if (facts_.kv_capacity_tokens > 0)
    view_.cap = static_cast<double>(facts_.kv_capacity_tokens) / (options_.input_tokens + options_.output_tokens);
  const int ceiling = CeilingOf(options_);
  const int engine = facts_.max_concurrent_requests;
  // An engine that takes its limit from us is no bound: it follows.
  science_->ceiling = engine > 0 && !facts_.limit_follows ? std::min(ceiling, engine) : ceiling;
  // As a calibration bounds it: with the KV cache quite full the engine preempts, so nothing beyond that is ever in force, nor borne.
  const int fits = std::isfinite(view_.cap) ? std::max(1, static_cast<int>(science::kKvShare * view_.cap)) : 0;
  science_->most = fits > 0 ? std::min(fits, science_->ceiling) : science_->ceiling;
  science_->bearable = fits;
  if (engine > 0 && !facts_.limit_follows) science_->bearable = fits > 0 ? std::min(fits, engine) : engine;
}

TunerActions Tuner::Follow(const TunerPolicy& policy, double now_s) {
  TunerPolicy& own = options_;
  if (policy == own) return {};
  own = policy;
  ShowOptions();
  FollowBounds();
  if (users_admitted_) return Enforce(now_s);
  policy_changed_ = true;
  if (retry_at_s_ < kNever) return Start(now_s);  // what failed may succeed under other objectives
  return {};
}

// Sets what the mode makes of the view's limit, and says so.
SetLimit Tuner::LimitInForce() {
  view_.message = absl::StrCat("limit ", view_.limit, ", bound by ", view_.bound_by);
  if (options_.mode == TuningMode::kAuto) return {view_.limit, Prompts()};
  if (options_.mode == TuningMode::kOff) return {view_.limit};  // the ceiling alone
  const int ceiling = CeilingOf(options_);
  view_.message = absl::StrCat("advice: ", view_.message, "; enforced is the ceiling of ", ceiling);
  return {ceiling};
}

// The options are others than those that the limit in force came from.
TunerActions Tuner::Enforce(double now_s) {
  const int ceiling = CeilingOf(options_);
  if (options_.mode == TuningMode::kOff) {
    MoveLimit(ceiling, "ceiling", "tuning is off", now_s);
    view_.bound_by = "Ceiling";
    return {LimitInForce()};
  }
  if (science_->tracker == nullptr) {
    if (view_.points.empty() && view_.a_ms <= 0) {  // nothing was ever measured
      MoveLimit(std::min(view_.limit, ceiling), "ceiling", absl::StrCat("the ceiling is ", ceiling), now_s);
      const SetLimit set = LimitInForce();
      view_.message = "nothing has been measured yet: tuning begins when this replica starts again";
      return {set};
    }
    Track(view_.limit, std::min(view_.limit, science_->most));
  }
  std::optional<science::Payload> workload;
  if (MoveCurve()) workload = curve_payload_;
  ShowKnees();
  const science::TrackMove move = science_->tracker->Retarget(options_.targets, science_->most, workload, now_s);
  if (options_.targets.empty()) {
    FollowKnee(now_s);
  } else {
    const int limit = science_->tracker->limit();
    if (move.limit != 0) believed_ = move.limit;
    if (move.limit != 0 || limit != view_.limit) {
      std::string evidence = absl::StrCat("the ceiling is ", ceiling);
      for (const science::Target& t : options_.targets) absl::StrAppend(&evidence, ", ", TextOf(t));
      if (workload) absl::StrAppend(&evidence, ", ", TextOf(*workload));
      MoveLimit(limit, move.reason.empty() ? "objectives" : move.reason, evidence, now_s);
    }
    if (limit >= science_->most && limit == ceiling) {
      view_.bound_by = "Ceiling";
    } else if (view_.bound_by == "Ceiling" || move.reason == "objectives") {
      view_.bound_by = std::string(NameOf(options_.targets.front().metric));
    }
  }
  if (options_.mode == TuningMode::kAdvise) return {LimitInForce()};
  return {LimitInForce(), Save{}};
}

// Moves what was measured to requests of the kind that the options now say: each point by what the step model says of both kinds.
// Whether that is another kind.
bool Tuner::MoveCurve() {
  const science::Payload from = std::exchange(curve_payload_, Workload());
  if (from == curve_payload_) return false;
  for (science::CurvePoint& p : view_.points) {
    const double faster = view_.step_model.TokensPerSecond(p.concurrency, curve_payload_) /
                          view_.step_model.TokensPerSecond(p.concurrency, from);
    p.tokens_per_second *= faster;
    p.mean_ms_per_token /= faster;
  }
  if (const auto fit = science::FitLaw(view_.points); fit.ok()) view_.a_ms = fit->law.a_ms, view_.b_ms = fit->law.b_ms;
  return true;
}

// Where there is no target the knee stands in for it, as in a calibration.
void Tuner::FollowKnee(double now_s) {
  const science::Curve curve{.law = {.a_ms = view_.a_ms, .b_ms = view_.b_ms}};
  const absl::StatusOr<science::Limit> known = science::ChooseLimit({.time_per_output_token = curve,
                                                                     .end_to_end = curve,
                                                                     .output_tokens = options_.output_tokens,
                                                                     .kv_capacity = science::kKvShare * view_.cap,
                                                                     .timeout_s = science::kPlatformTimeout_s,
                                                                     .ceiling = science_->ceiling,
                                                                     .knee = options_.knee_definition,
                                                                     .knee_utilization = options_.knee_utilization});
  if (!known.ok()) return;  // only targets can be at fault
  believed_ = known->limit;
  view_.bound_by = std::string(science::NameOf(known->bound_by));
  if (known->limit == view_.limit) return;
  MoveLimit(
      known->limit, "objectives",
      absl::StrFormat("no latency target: the knee by %s, %.0f %% of what batching without end would give; %s",
                      std::string(NameOf(options_.knee_definition)), 100 * known->utilization, TextOf(curve_payload_)),
      now_s);
}

science::PromptBudget Tuner::Prompts() {
  prompts_ = science_->tracker == nullptr ? science::PromptBudget{} : science_->tracker->Prompts();
  return prompts_;
}

void Tuner::Track(int believed, int start) {
  science_->tracker =
      std::make_unique<science::LimitTracker>(science::TrackConfig{.model = view_.step_model,
                                                                   .payload = curve_payload_,
                                                                   .targets = options_.targets,
                                                                   .believed = believed,
                                                                   .start = start,
                                                                   .most = std::max(science_->most, start)});
}

Learned Tuner::learned() const {
  Learned out{.key = KeyOf(options_),
              .limit = believed_,
              .bound_by = view_.bound_by,
              .confidence = view_.confidence,
              .a_ms = view_.a_ms,
              .b_ms = view_.b_ms,
              .cap = view_.cap,
              .points = view_.points,
              .step_model = view_.step_model,
              .payload = curve_payload_,
              .most = science_->bearable};
  const std::vector<science::Target>& targets = options_.targets;
  if (science_->tracker != nullptr) {
    out.level = science_->tracker->level();
    out.payload = science_->tracker->payload();
    for (size_t i = 0; i < targets.size() && options_.mode == TuningMode::kAuto; ++i)
      out.spreads.push_back({targets[i].metric, targets[i].quantile, science_->tracker->QuantileRatio(i)});
  } else if (science_->calibration != nullptr && science_->calibration->last_result().has_curve &&
             !out.step_model.points.empty()) {  // empty until the curve is shown, at the probe's next progress
    // By what the limit was solved from, at the limit; without one, at a single request.
    const science::CalibrationResult& known = science_->calibration->last_result();
    const double at = std::max(1, known.limit);
    for (const science::Target& t : targets) {
      const double model_ms = out.step_model.LatencyMs(t.metric, at, out.payload);
      const double ratio = science::QuantileMs(known.inputs, t.metric, at) / model_ms;
      if (std::isfinite(ratio) && ratio > 0) out.spreads.push_back({t.metric, t.quantile, ratio});
    }
  }
  return out;
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

void Tuner::OnPromptComputed(int prompt_tokens, int decoding) {
  if (tracking()) science_->tracker->OnPromptComputed(prompt_tokens, decoding);
}

void Tuner::OnTokens(int tokens, double gap_ms, int decoding, int in_flight) {
  if (tracking()) science_->tracker->OnTokens(tokens, gap_ms, decoding, in_flight);
}

void Tuner::OnStream(const science::TrackedStream& stream) {
  if (tracking()) science_->tracker->OnStream(stream);
}

TunerActions Tuner::OnTick(int in_flight, double now_s) {
  if (now_s >= retry_at_s_) return Start(now_s);
  if (!tracking()) return {};
  const science::TrackMove move = science_->tracker->OnTick(in_flight, now_s);
  if (move.limit == 0 && view_.confidence == "Low" && science_->tracker->Held()) {
    view_.confidence = "Medium";  // verified by live traffic; what lies above was not tried here
    return {Save{}};
  }
  if (move.limit == 0) {
    const science::PromptBudget before = prompts_;
    const auto apart = [](double now, double then) { return std::abs(now - then) > kBudgetDeadBand * then; };
    const bool moved = apart(static_cast<double>(Prompts().tokens), static_cast<double>(before.tokens)) ||
                       apart(prompts_.ms_per_token, before.ms_per_token);
    if (!moved) prompts_ = before;
    return moved ? TunerActions{SetLimit{view_.limit, prompts_}} : TunerActions{};
  }
  believed_ = move.limit;
  MoveLimit(move.limit, move.reason, move.evidence, now_s);
  view_.message = absl::StrCat("limit ", move.limit, ", bound by ", view_.bound_by, " (", move.reason, ")");
  return {SetLimit{move.limit, Prompts()}, Save{}};
}

}  // namespace patella::sidecar
