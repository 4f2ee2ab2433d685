#include "lib/science/calibration.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/science/closed_loop.h"

namespace patella::science {
namespace {

constexpr int kMaxVerifications = 3;
constexpr double kSettled = 0.10;    // verify again only if the limit would rise by more than that
constexpr double kRampShare = 0.35;  // of the budget, for one pass
constexpr double kRampMax_s = 30;
constexpr double kLeastForVerify_s = 6, kVerifyMax_s = 20;
constexpr int kVerifyRequests = 12;
constexpr double kVerifyWaves = 2.5;
constexpr double kUnverifiedShare = 0.8;
constexpr double kKneeMargin = 0.1;  // utilisation beyond the wanted knee, to have it inside
constexpr double kDrainPatience_s = 3;
// Taken off the targets when solving: by how much the law may err before the first verification, and what a wave's
// scatter is after it.
constexpr double kMarginOfError = 0.8, kLeastMargin = 0.05, kMostMargin = 0.08;
constexpr double kVerifyShare = 0.4;  // of the progress bar

double TightestFirstToken(const CalibrationConfig& config) {
  double tightest = kInfinity;
  for (const Target& t : config.targets) {
    if (t.metric == LatencyMetric::kTimeToFirstToken) tightest = std::min(tightest, t.target_ms);
  }
  return tightest;
}

double UtilizationOf(const CalibrationConfig& config) {
  if (!config.targets.empty()) return 1;
  if (config.knee == KneeDefinition::kUtilization) return std::min(1.0, config.knee_utilization + kKneeMargin);
  return std::min(1.0, (config.knee == KneeDefinition::kKleinrock ? 0.5 : kHalfLatencyUtilization) + kKneeMargin);
}

}  // namespace

class Calibration::Machine {
 public:
  explicit Machine(const CalibrationConfig& config) : config_(config) {
    most_ = std::max(1, config.ceiling);
    if (std::isfinite(config.kv_capacity))
      most_ = std::clamp(static_cast<int>(kKvShare * config.kv_capacity), 1, most_);
  }

  std::vector<ProbeAction> Begin(double now_s) {
    begun_s_ = last_event_s_ = now_s;
    RampConfig ramp{.input_tokens = config_.input_tokens,
                    .output_tokens = config_.output_tokens,
                    .target_ms = TightestMsPerToken(config_.targets, config_.output_tokens),
                    .ttft_target_ms = TightestFirstToken(config_),
                    .max_utilization = UtilizationOf(config_),
                    .max_concurrency = most_,
                    .max_seconds = std::min(kRampMax_s, kRampShare * config_.max_seconds),
                    .max_warm_up_seconds = kRampShare * config_.max_seconds,
                    .max_total_seconds = config_.max_seconds - kLeastForVerify_s,
                    .max_total_tokens = config_.max_total_tokens,
                    .seed = config_.seed};
    ramp_ = std::make_unique<Ramp>(ramp);
    return StartProbe(*ramp_, now_s);
  }

  std::vector<ProbeAction> OnTokens(int id, int tokens, double now_s) {
    if (done_) return {};
    Charge(now_s);
    CostOf(phase_, result_.phases).output_tokens += tokens;
    if (id <= offset_ || probe_ == nullptr) return {};  // of the probe before
    return Forward(probe_->OnTokens(id - offset_, tokens, now_s), now_s);
  }

  std::vector<ProbeAction> OnEnd(int id, bool ok, double now_s) {
    open_.erase(id);
    if (done_) return {};
    Charge(now_s);
    if (id <= offset_ || probe_ == nullptr) return StartWhenDrained(now_s);
    return Forward(probe_->OnEnd(id - offset_, ok, now_s), now_s);
  }

  std::vector<ProbeAction> OnTick(double now_s) {
    if (done_) return {};
    Charge(now_s);
    if (probe_ == nullptr) return StartWhenDrained(now_s);
    return Forward(probe_->OnTick(now_s), now_s);
  }

  ProbeProgress progress() const {
    ProbeProgress progress = probe_ != nullptr ? probe_->progress() : ProbeProgress{.phase = phase_};
    const double verified = static_cast<double>(result_.verifications.size());
    const double share = result_.has_curve ? 1 - kVerifyShare * std::pow(0.5, verified) * (1 - 0.5 * progress.fraction)
                                           : (1 - kVerifyShare) * progress.fraction;
    progress.fraction = done_ ? 1 : std::min(0.99, share);
    return progress;
  }

  bool done_ = false;
  absl::Status status_;
  CalibrationResult result_;

 private:
  // Seconds go to the phase that ran until now.
  void Charge(double now_s) {
    if (probe_ != nullptr) phase_ = probe_->progress().phase;
    CostOf(phase_, result_.phases).seconds += now_s - std::exchange(last_event_s_, now_s);
  }

  std::vector<ProbeAction> StartProbe(Probe& probe, double now_s) {
    offset_ = last_id_;
    probe_ = &probe;
    phase_ = probe.progress().phase;
    return Forward(probe.Begin(now_s), now_s);
  }

  // The verification begins when the streams before it have left: never more than its limit at once.
  std::vector<ProbeAction> StartWhenDrained(double now_s) {
    if (next_ == nullptr || (!open_.empty() && now_s - draining_since_s_ < kDrainPatience_s)) return {};
    open_.clear();
    verify_ = std::move(next_);
    return StartProbe(*verify_, now_s);
  }

  // The inner probe's actions under ids of our own, and what follows if it is done.
  std::vector<ProbeAction> Forward(std::vector<ProbeAction> actions, double now_s) {
    for (ProbeAction& action : actions) {
      if (auto* start = std::get_if<StartStream>(&action)) {
        start->stream += offset_;
        last_id_ = std::max(last_id_, start->stream);
        open_.insert(start->stream);
        CostOf(probe_->progress().phase, result_.phases).prompt_tokens += start->prompt_tokens;
      } else if (auto* cancel = std::get_if<CancelStream>(&action)) {
        cancel->stream += offset_;
      }
    }
    if (!probe_->done()) return actions;
    const bool ramped = probe_ == ramp_.get();
    probe_ = nullptr;
    offset_ = last_id_;
    draining_since_s_ = now_s;
    ramped ? AfterRamp(now_s) : AfterVerify(now_s);
    for (ProbeAction& action : StartWhenDrained(now_s)) actions.push_back(action);
    return actions;
  }

  void Fail(absl::Status status, double now_s) {
    status_ = std::move(status);
    End(now_s);
  }

  void End(double now_s) {
    done_ = true;
    result_.seconds = now_s - begun_s_;
  }

  void AfterRamp(double now_s) {
    const absl::StatusOr<RampResult> ramp = ramp_->Result();
    result_.ramp = ramp.ok() ? *ramp : ramp_->last_result();
    result_.has_curve = result_.ramp.levels.size() >= 2;
    result_.noisy = absl::IsAborted(ramp.status());
    if (!ramp.ok() && !(result_.noisy && result_.has_curve)) return Fail(ramp.status(), now_s);
    // Too noisy, says the return leg: a verification may still show that a limit holds.
    result_.doubt = result_.noisy                  ? std::string(ramp.status().message())
                    : result_.ramp.high_confidence ? ""
                                                   : result_.ramp.remark;
    result_.inputs = InputsFrom(result_.ramp, config_.output_tokens);
    result_.inputs.targets = config_.targets;
    result_.inputs.knee = config_.knee;
    result_.inputs.knee_utilization = config_.knee_utilization;
    if (std::isfinite(config_.kv_capacity)) result_.inputs.kv_capacity = kKvShare * config_.kv_capacity;
    result_.inputs.timeout_s = config_.timeout_s;
    result_.inputs.ceiling = std::max(1, config_.ceiling);
    result_.inputs.margin = std::clamp(kMarginOfError * result_.ramp.fit.error_ratio, kLeastMargin, kMostMargin);
    const absl::StatusOr<int> limit = Solve();
    if (!limit.ok()) return Fail(limit.status(), now_s);
    Verify(*limit, now_s);
  }

  absl::StatusOr<int> Solve() {
    const absl::StatusOr<Limit> limit = ChooseLimit(result_.inputs);
    if (absl::IsFailedPrecondition(limit.status())) return absl::OutOfRangeError(limit.status().message());
    if (!limit.ok()) return limit.status();
    result_.bound_by = limit->bound_by;
    result_.batching_gains = limit->batching_gains;
    return std::clamp(limit->limit, 1, most_);
  }

  void Verify(int limit, double now_s) {
    const double left = config_.max_seconds - (now_s - begun_s_);
    const double request_s = config_.output_tokens * result_.ramp.fit.law.MsPerToken(limit) / 1e3;
    if (left < std::max(kLeastForVerify_s, kVerifyWaves * request_s)) {
      if (best_passed_ > 0) return Conclude(best_passed_, "verified", EvidenceAt(best_passed_), now_s);
      return Conclude(std::max(1, static_cast<int>(kUnverifiedShare * limit)), "budget",
                      absl::StrFormat("calibration budget of %.0f s used up", config_.max_seconds), now_s);
    }
    next_ = std::make_unique<ClosedLoop>(
        ClosedLoopConfig{.concurrency = limit,
                         .input_tokens = config_.input_tokens,
                         .output_tokens = config_.output_tokens,
                         .warm_up = WarmUp::kStarted,
                         .half_width = kInfinity,
                         .max_waves = kVerifyWaves,
                         .min_requests = kVerifyRequests,
                         .max_seconds = std::min(std::max(kVerifyMax_s, kVerifyWaves * request_s), left - 1),
                         .max_total_tokens = config_.max_total_tokens,
                         .targets = config_.targets,
                         .seed = config_.seed + result_.verifications.size() + 1});
  }

  void AfterVerify(double now_s) {
    const absl::StatusOr<ClosedLoopResult> measured = verify_->Result();
    if (!measured.ok()) return Fail(measured.status(), now_s);
    const Target first = config_.targets.empty() ? Target{} : config_.targets.front();
    const Verdict verdict = Judge(*measured, config_.targets);
    result_.verifications.push_back({.concurrency = measured->concurrency,
                                     .quantile_ms = measured->QuantileMs(first.metric, first.quantile),
                                     .mean_ms_per_token = measured->mean_ms_per_token,
                                     .tokens_per_second = measured->tokens_per_second,
                                     .passed = verdict == Verdict::kPass,
                                     .requests = static_cast<int>(measured->requests.size())});
    const Verification& last = result_.verifications.back();
    if (last.passed) best_passed_ = std::max(best_passed_, last.concurrency);
    if (verdict == Verdict::kUndecided) {  // not one sample of a target: longer requests than the time allows to see
      const int safe = std::max(1, static_cast<int>(kUnverifiedShare * last.concurrency));
      return Conclude(safe, "unverified", "no whole request was seen within the time of a verification", now_s);
    }
    CorrectBy(*measured, first.quantile, result_.inputs);
    result_.inputs.margin = kLeastMargin;
    const absl::StatusOr<int> solved = Solve();
    if (!solved.ok()) return Fail(solved.status(), now_s);
    Decide(last, *solved, now_s);
  }

  void Decide(const Verification& last, int solved, double now_s) {
    const int at = last.concurrency;
    int next = std::clamp(solved, at / 2, at + std::max(1, at / 2));
    for (const Verification& v : result_.verifications) {  // what has failed is not tried again, nor what lies above it
      if (!v.passed) next = std::min(next, v.concurrency - 1);
    }
    // It held at `at`, so it holds at the little less that the margin asks for.
    if (last.passed && next - at < std::max(2.0, kSettled * at))
      return Conclude(std::min(at, next), "verified", EvidenceAt(at), now_s);
    if (next < 1) {
      return Fail(absl::OutOfRangeError(absl::StrFormat(
                      "The target cannot be met: even one request at a time misses it (%.1f ms at the quantile); "
                      "the nearest target that can is %.0f ms",
                      last.quantile_ms, NearestTargetMs(last.quantile_ms))),
                  now_s);
    }
    const bool more = static_cast<int>(result_.verifications.size()) < kMaxVerifications;
    const bool near = best_passed_ > 0 && next < (1 + kSettled) * best_passed_;  // not worth another load
    if (more && !near) return Verify(next, now_s);
    if (best_passed_ > 0) return Conclude(best_passed_, "verified", EvidenceAt(best_passed_), now_s);
    if (result_.noisy) return Fail(absl::AbortedError(result_.doubt), now_s);
    Conclude(std::max(1, static_cast<int>(kUnverifiedShare * next)), "unverified", EvidenceAt(at), now_s);
  }

  // What the last verification at that many requests saw.
  std::string EvidenceAt(int concurrency) const {
    const auto& all = result_.verifications;
    const auto v = std::find_if(all.rbegin(), all.rend(), [&](const auto& v) { return v.concurrency == concurrency; });
    return absl::StrFormat("%d requests at %d in flight: quantile %.1f ms, %.0f tokens/s", v->requests, v->concurrency,
                           v->quantile_ms, v->tokens_per_second);
  }

  void Conclude(int limit, const std::string& reason, const std::string& evidence, double now_s) {
    result_.limit = limit;
    result_.reason = reason;
    result_.evidence = result_.doubt.empty() ? evidence : absl::StrCat(evidence, "; ", result_.doubt);
    result_.high_confidence = reason == "verified" && !result_.noisy;
    End(now_s);
  }

  const CalibrationConfig config_;
  int most_ = 1;  // by ceiling and KV cache
  std::unique_ptr<Ramp> ramp_;
  std::unique_ptr<ClosedLoop> verify_, next_;
  Probe* probe_ = nullptr;  // the one that runs; none while streams drain
  int best_passed_ = 0;
  int offset_ = 0, last_id_ = 0;  // the running probe's ids are ours less `offset_`
  std::set<int> open_;
  std::string phase_ = "warm-up";
  double begun_s_ = 0, last_event_s_ = 0, draining_since_s_ = 0;
};

Calibration::Calibration(const CalibrationConfig& config) : machine_(std::make_unique<Machine>(config)) {}
Calibration::~Calibration() = default;
std::vector<ProbeAction> Calibration::Begin(double now_s) { return machine_->Begin(now_s); }
std::vector<ProbeAction> Calibration::OnTokens(int stream, int tokens, double now_s) {
  return machine_->OnTokens(stream, tokens, now_s);
}
std::vector<ProbeAction> Calibration::OnEnd(int stream, bool ok, double now_s) {
  return machine_->OnEnd(stream, ok, now_s);
}
std::vector<ProbeAction> Calibration::OnTick(double now_s) { return machine_->OnTick(now_s); }
bool Calibration::done() const { return machine_->done_; }
ProbeProgress Calibration::progress() const { return machine_->progress(); }
const CalibrationResult& Calibration::last_result() const { return machine_->result_; }

absl::StatusOr<CalibrationResult> Calibration::Result() const {
  if (!machine_->status_.ok()) return machine_->status_;
  if (!done()) return absl::FailedPreconditionError("the calibration is not done");
  return machine_->result_;
}

}  // namespace patella::science
