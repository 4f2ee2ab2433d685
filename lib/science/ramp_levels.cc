#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "lib/science/ramp_machine.h"

namespace patella::science {
namespace {

constexpr int kLowLevel = 4;
constexpr int kLeastGaps = 8, kMostGaps = 20, kMostGapsLowLevel = 40;
constexpr double kPrecise = 0.025;  // 95 % half-width of the mean gap at which a level is known
constexpr double kMinWindow_s = 0.15;
constexpr int kReplacements = 2;
constexpr int kGapsBetween = 2;  // of every stream, from one arrival to the next
constexpr double kReached =
    0.93;  // of the target, and the climb ends: the limit lies about here, as quantiles lie above means
constexpr double kOneStride = 2.4;  // a target within this many times the level is the next level
constexpr double kLeastGrowth = 1.2;
constexpr double kFalling = 0.97;  // throughput against the level before
constexpr int kLevelsForKnee = 4;
constexpr double kPatience_s = 3;  // least time for new streams to get going
constexpr double kQueued_s = 0.5;  // least time, and
constexpr int kQueuedGaps = 25;    // what the others must have got, to say that the engine lets no more in

}  // namespace

void Ramp::Machine::BeginPass(double now_s) {
  log_ = {};
  by_id_.clear();  // what still ends is of no interest
  pass_begun_s_ = now_s;
  started_in_pass_ = 0;
  returning_ = false;
  queue_cap_ = 0;
  vacant_since_s_ = -1;
  open_arrival_ = -1;
  GrowTo(1, now_s);
}

void Ramp::Machine::GrowTo(int concurrency, double now_s) {
  level_ = concurrency;
  level_arrivals_ = 0;
  phase_ = Phase::kSettle;
  phase_begun_s_ = now_s;
  Fill(now_s);
}

// Starts what the level lacks, once all that were cancelled have left: never more than the level at once.
void Ramp::Machine::Fill(double now_s) {
  if (static_cast<int>(open_.size()) > Live()) return;
  for (int i = Live(); i < level_; ++i) StartAged(started_in_pass_++, now_s);
}

void Ramp::Machine::Settle(double now_s) {
  if (Live() < level_) {
    if (now_s - phase_begun_s_ > kPatience_s) open_.clear();  // whoever cancels has told us so, or never will
    return Fill(now_s);
  }
  if (EveryStreamHas(1, phase_begun_s_)) {
    phase_ = Phase::kMeasure;
    phase_begun_s_ = now_s;
    last_arrival_closed_s_ = now_s;
    log_.windows.push_back({.concurrency = level_, .opened_s = now_s, .returning = returning_});
    return;
  }
  // Prompts may be prefilled one after another: as long as now and then one gets going, all will.
  double progress_s = phase_begun_s_;
  int running = 0;
  for (const RampStream& stream : log_.streams) {
    if (!stream.live || stream.events.empty()) continue;
    ++running;
    progress_s = std::max(progress_s, stream.events.front().at_s);
  }
  const double waited_s = now_s - progress_s, usual_s = 10 * (prefill_guess_s_ + gap_guess_s_);
  const bool climbing = level_ > 1 && !returning_;
  if (climbing && running > 0 && running < level_ && waited_s > std::max(kQueued_s, usual_s) &&
      RunningHave(kQueuedGaps, progress_s)) {
    queue_cap_ = running;
    result_.stopped_by = "engine queues";
    return BeginReturnLeg(now_s);
  }
  if (climbing && now_s - phase_begun_s_ > config_.max_seconds / 2) {
    result_.stopped_by = "time";
    return BeginReturnLeg(now_s);
  }
  if (waited_s < std::max(config_.max_seconds, usual_s)) return;
  status_ = absl::UnavailableError(absl::StrFormat("no token came within %.0f s of starting a stream", waited_s));
  Finish(now_s);
}

void Ramp::Machine::Measure(double now_s) {
  if (open_arrival_ >= 0) Replace(now_s);  // a stream ended by itself: the arrival closes there
  if (phase_ != Phase::kMeasure) return;
  const double longest = config_.max_seconds / 4;
  const int most = level_ <= kLowLevel ? kMostGapsLowLevel : kMostGaps;
  const bool enough = now_s - phase_begun_s_ >= kMinWindow_s && EveryStreamHas(kLeastGaps, phase_begun_s_) &&
                      (EveryStreamHas(most, phase_begun_s_) || GapHalfWidth(log_, log_.windows.back()) <= kPrecise);
  if (!enough && now_s - phase_begun_s_ < longest) return;
  if (returning_) return EndLevel(now_s);
  phase_ = Phase::kReplace;
  phase_begun_s_ = now_s;
}

void Ramp::Machine::Replace(double now_s) {
  if (open_arrival_ >= 0) {
    const RampArrival& arrival = log_.arrivals[static_cast<size_t>(open_arrival_)];
    const RampStream& newcomer = log_.streams[arrival.stream];
    const bool running = newcomer.events.size() >= 2 && EveryStreamHas(0, newcomer.events.front().at_s);
    const double waited = now_s - newcomer.started_s;
    if (!running && waited < std::max(kPatience_s, 10 * prefill_guess_s_)) return;
    if (!running) log_.arrivals[static_cast<size_t>(open_arrival_)].usable = false;
    CloseArrival(now_s);
  }
  if (phase_ != Phase::kReplace || vacant_since_s_ >= 0) return;
  const int wanted = kReplacements + (level_ <= kLowLevel ? 1 : 0);
  const bool out_of_time = now_s - phase_begun_s_ > config_.max_seconds / 4;
  if (!out_of_time && !EveryStreamHas(kGapsBetween, last_arrival_closed_s_)) return;
  if (out_of_time || level_arrivals_ >= wanted) return EndLevel(now_s);
  RampStream* oldest = nullptr;
  for (RampStream& stream : log_.streams) {
    if (stream.live && (oldest == nullptr || stream.started_s < oldest->started_s)) oldest = &stream;
  }
  if (oldest == nullptr) return;
  vacant_since_s_ = now_s;
  Cancel(*oldest);
}

void Ramp::Machine::EndLevel(double now_s) {
  log_.windows.back().closed_s = now_s;
  const GapEstimate gap = EstimateGap(log_, log_.windows.back());
  if (gap.tokens > 0) {
    last_gap_ms_ = gap.mean_ms;
    gap_guess_s_ = gap.mean_ms / 1000;
  }
  if (returning_) return EndReturnLevel(now_s);
  const int next = NextLevel(level_, now_s);
  if (next <= level_) return BeginReturnLeg(now_s);
  GrowTo(next, now_s);
}

int Ramp::Machine::StopClimbing(const char* reason) {
  result_.stopped_by = reason;
  return 0;
}

// Nothing that is asked for lies above the last level.
bool Ramp::Machine::FarEnough(const RampResult& so_far) {
  const std::vector<CurvePoint>& points = so_far.end_to_end.points;
  const RampLevel& last = so_far.levels.back();
  if (so_far.time_per_output_token.points.back().mean_ms_per_token > kReached * config_.target_ms ||
      last.ttft_ms > config_.ttft_target_ms) {
    StopClimbing("target");
    return true;
  }
  const double before = points[points.size() - 2].tokens_per_second;
  if (points.back().tokens_per_second < kFalling * before) {
    StopClimbing("throughput falls");
    return true;
  }
  if (so_far.levels.size() >= kLevelsForKnee &&
      UtilizationAt(so_far.fit.law, last.concurrency) > config_.max_utilization) {
    StopClimbing("knee");
    return true;
  }
  return false;
}

// Twice the level, or where the target is expected if that is no farther than a long stride: the last level lies near
// the limit.
int Ramp::Machine::Aim(const RampResult& so_far, int concurrency) const {
  const int doubled = std::min(2 * concurrency, config_.max_concurrency);
  if (!std::isfinite(config_.target_ms)) return doubled;
  const double stride = std::min(kOneStride * concurrency, static_cast<double>(config_.max_concurrency));
  const double reach = so_far.time_per_output_token.ConcurrencyAt(config_.target_ms, stride);
  if (reach >= stride) return doubled;
  return std::clamp(static_cast<int>(std::ceil(reach)), static_cast<int>(std::ceil(kLeastGrowth * concurrency)),
                    static_cast<int>(stride));
}

// The next level, or 0 and the reason in stopped_by.
int Ramp::Machine::NextLevel(int concurrency, double now_s) {
  if (concurrency >= config_.max_concurrency) return StopClimbing("ceiling");
  int next = std::min(2 * concurrency, config_.max_concurrency);
  const absl::StatusOr<RampResult> so_far = EstimateRamp(log_, config_);
  double prefill_s = prefill_guess_s_;
  if (so_far.ok()) {
    if (FarEnough(*so_far)) return 0;
    prefill_s = so_far->PrefillMs(concurrency) / 1000;
    next = std::min(Aim(*so_far, concurrency), config_.max_concurrency);
  }
  const auto seconds = [&](int n) {
    const double step_s = so_far.ok() ? so_far->StepMs(n) / 1000 : 2 * gap_guess_s_;
    return (n - concurrency) * prefill_s + (kMostGaps + 2 + kReplacements * (kGapsBetween + 3)) * step_s +
           kReplacements * prefill_s;
  };
  const double left =
      config_.max_seconds - (now_s - pass_begun_s_) - 2 * kMinWindow_s - 4 * prefill_s - kMostGaps * gap_guess_s_;
  const int least = static_cast<int>(std::ceil(kLeastGrowth * concurrency));
  while (next > least && seconds(next) > left) --next;
  if (seconds(next) > left && concurrency >= 2) return StopClimbing("time");
  const double tokens = (next - concurrency) * (config_.input_tokens + config_.output_tokens / 2.0) +
                        next * (kMostGaps + 12.0) + 2.0 * config_.input_tokens;
  if (config_.max_tokens > 0 && concurrency >= 2 &&
      static_cast<double>(prompt_tokens_ + output_tokens_) + tokens > static_cast<double>(config_.max_tokens)) {
    return StopClimbing("tokens");
  }
  return next;
}

}  // namespace patella::science
