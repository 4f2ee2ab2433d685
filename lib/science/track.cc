#include "lib/science/track.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "lib/science/statistics.h"

namespace patella::science {
namespace {

constexpr double kLoadedShare = 0.8;  // of the limit in flight, from which streams judge it and it may move
constexpr double kLevelShare = 0.5;   // of the limit in flight, from which gaps tell of the level there
constexpr double kLevelMemory_s = 3;  // of s; a tick is a second
constexpr int kLeastTokens = 50;      // a tick with fewer tells nothing
constexpr int kStreamsMemory = 80;    // of a spread, at least
// Times the limit: those in flight together tell little more than one, and the first of them to end are the short ones.
constexpr int kWavesMemory = 3;
constexpr int kPayloadMemory = 50;        // requests; of in and out, at least
constexpr int kPriorStreams = 10;         // what the calibration counts for in a spread
constexpr double kPriorDeviation = 0.03;  // of ln(time per output token); first tokens scatter ten times as much
constexpr double kLeastDeviation = 0.02;
constexpr double kOutlier = 3;  // deviations; what lies beyond counts as this
constexpr double kDeadBand = 0.05;
constexpr double kApart = 1.3;        // concurrencies, for a slope between them
constexpr double kAllAttain = 0.995;  // of requests: fewer at once would gain nothing
constexpr double kPromptShare = 0.9;  // of a time-to-first-token target, for waiting and being computed
constexpr double kRise = 1.12, kRisePeriod_s = 2;
constexpr double kDeepestFall = 0.6;
constexpr double kGuardExcess = 1.05, kGuardHold_s = 8, kDeepestCut = 0.75;
constexpr size_t kGuardStreams = 25, kMostRecent = 50, kPromises = 120;

double PriorDeviation(LatencyMetric metric) {
  return metric == LatencyMetric::kTimeToFirstToken ? 10 * kPriorDeviation : kPriorDeviation;
}

double ValueOf(const TrackedStream& stream, LatencyMetric metric) {
  switch (metric) {
    case LatencyMetric::kTimePerOutputToken:
      return stream.time_per_output_token_ms;
    case LatencyMetric::kTimeToFirstToken:
      return stream.time_to_first_token_ms;
    case LatencyMetric::kEndToEnd:
      return stream.end_to_end_ms;
  }
  return 0;
}

double QuantileOf(const std::deque<double>& values, double quantile) {
  std::vector<double> sorted(values.begin(), values.end());
  const double rank = std::ceil(quantile * static_cast<double>(sorted.size())) - 1;
  const auto at = static_cast<size_t>(std::clamp(rank, 0.0, static_cast<double>(sorted.size() - 1)));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<long>(at), sorted.end());
  return sorted[at];
}

}  // namespace

double StepModel::StepMs(double streams) const {
  if (points.size() == 1) return points[0].ms;
  size_t high = 1;
  while (high + 1 < points.size() && points[high].streams < streams) ++high;
  const Point &from = points[high - 1], &to = points[high];
  const double ms = from.ms + (to.ms - from.ms) * (streams - from.streams) / (to.streams - from.streams);
  return std::max(ms, 0.1 * points[0].ms);
}

double StepModel::LatencyMs(LatencyMetric metric, double concurrency, const Payload& payload) const {
  const double step_ms = StepMs(concurrency), prompt_ms = prompt_ms_per_token * payload.input_tokens;
  const double per_token = step_ms + prompt_ms * (concurrency - 1) / payload.output_tokens;
  const double first = step_ms + prompt_ms;
  switch (metric) {
    case LatencyMetric::kTimePerOutputToken:
      return per_token;
    case LatencyMetric::kTimeToFirstToken:
      return first;
    case LatencyMetric::kEndToEnd:
      return first + (payload.output_tokens - 1) * per_token;
  }
  return per_token;
}

double StepModel::TokensPerSecond(double concurrency, const Payload& payload) const {
  const double prompt_ms = prompt_ms_per_token * payload.input_tokens;
  return 1000 * concurrency / (StepMs(concurrency) + prompt_ms * concurrency / payload.output_tokens);
}

namespace {

CurvePoint StepPoint(double streams, double ms, double samples) {
  return {static_cast<int>(std::lround(streams)), ms, 1000 * std::round(streams) / ms, static_cast<int>(samples)};
}

// p, as the ramp measured it: far below a verification's concurrency, whose arrivals cost the same.
double PromptMsPerToken(const RampResult& ramp, const Payload& payload) {
  if (ramp.prefill_ms_per_token > 0) return ramp.prefill_ms_per_token;
  return std::max(0.0, ramp.PrefillMs(ramp.levels.back().concurrency) / payload.input_tokens);
}

// Step times, of neighbours that are too near each other to tell a slope their mean. `prompt_ms`: of a typical prompt.
std::vector<CurvePoint> StepsOf(const CalibrationResult& calibration, const Payload& payload, double prompt_ms) {
  std::vector<CurvePoint> steps;
  for (const RampLevel& level : calibration.ramp.levels)
    steps.push_back(StepPoint(level.concurrency, level.gap_ms, level.tokens));
  for (const Verification& v : calibration.verifications) {
    const double ms = v.mean_ms_per_token - v.concurrency * prompt_ms / payload.output_tokens;
    if (ms > 0) steps.push_back(StepPoint(v.concurrency, ms, v.requests * payload.output_tokens));
  }
  std::ranges::sort(steps, {}, &CurvePoint::concurrency);
  std::vector<CurvePoint> apart;
  for (const CurvePoint& step : steps) {
    if (apart.empty() || step.concurrency >= kApart * apart.back().concurrency) {
      apart.push_back(step);
      continue;
    }
    CurvePoint& near = apart.back();
    const double both = std::max(1, near.samples) + std::max(1, step.samples);
    const double share = std::max(1, step.samples) / both;
    near = StepPoint(near.concurrency + share * (step.concurrency - near.concurrency),
                     near.mean_ms_per_token + share * (step.mean_ms_per_token - near.mean_ms_per_token), both);
  }
  return apart;
}

}  // namespace

StepModel StepModelOf(const CalibrationResult& calibration, const Payload& payload) {
  const double prompt_ms_per_token = PromptMsPerToken(calibration.ramp, payload);
  const std::vector<CurvePoint> steps = StepsOf(calibration, payload, prompt_ms_per_token * payload.input_tokens);
  const absl::StatusOr<Fit> fit = FitLaw(steps, {.find_cap = false});
  if (!fit.ok()) return StepModelOf(calibration.ramp.fit.law);
  const Curve curve = MakeCurve(steps, fit->law);
  StepModel model;
  for (const CurvePoint& step : curve.points) {
    const double least = model.points.empty() ? 0 : model.points.back().ms;
    model.points.push_back(
        {static_cast<double>(step.concurrency), std::max(least, curve.MsPerToken(step.concurrency))});
  }
  model.prompt_ms_per_token = prompt_ms_per_token;
  return model;
}

StepModel StepModelOf(const Law& law) { return {.points = {{1, law.MsPerToken(1)}, {2, law.MsPerToken(2)}}}; }

LimitTracker::LimitTracker(TrackConfig config)
    : config_(std::move(config)),
      limit_(std::clamp(config_.start, 1, std::max(1, config_.most))),
      payload_(config_.payload),
      recent_(config_.targets.size()) {
  for (const Target& target : config_.targets) spreads_.emplace_back(PriorDeviation(target.metric));
  // The calibration has verified its limit; the model alone might say another. Believe the former: shift the spread until they agree.
  double low = -0.5, high = 0.5, shifted = 0;
  const int wanted = std::clamp(config_.believed, 1, std::max(1, config_.most));
  const auto shift = [this, &shifted](double to) {
    for (Spread& spread : spreads_) spread.Shift(to - shifted);
    shifted = to;
    return Best();
  };
  if (Best() == wanted) return;
  for (int i = 0; i < 30; ++i) {
    const double middle = (low + high) / 2;
    (shift(middle) >= wanted ? low : high) = middle;
  }
  shift(low);
}

LimitTracker::Spread::Spread(double deviation) {
  for (int i = 0; i < kPriorStreams; ++i) values_.push_back(deviation * NormalQuantile((i + 0.5) / kPriorStreams));
  Summarize();
}

void LimitTracker::Spread::Add(double value, size_t memory) {
  values_.push_back(std::clamp(value, mean_ - kOutlier * deviation_, mean_ + kOutlier * deviation_));
  while (values_.size() > memory) values_.pop_front();
  Summarize();
}

void LimitTracker::Spread::Shift(double by) {
  for (double& value : values_) value += by;
  mean_ += by;
}

void LimitTracker::Spread::Summarize() {
  const auto count = static_cast<double>(values_.size());
  double sum = 0, squares = 0;
  for (const double value : values_) sum += value;
  mean_ = sum / count;
  for (const double value : values_) squares += std::pow(value - mean_, 2);
  deviation_ = std::max(kLeastDeviation, std::sqrt(squares / count));
  smoothing_ =
      std::max(kLeastDeviation,
               0.6 * deviation_ * std::pow(count, -0.2));  // two thirds of Silverman's rule: not to blur the upper end
}

double LimitTracker::Spread::ShareBelow(double value) const {
  double share = 0;
  for (const double own : values_) share += Normal((value - own) / smoothing_);
  return share / static_cast<double>(values_.size());
}

double LimitTracker::Spread::Quantile(double share) const {
  double low = mean_ - 10 * deviation_, high = mean_ + 10 * deviation_;
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    (ShareBelow(middle) < share ? low : high) = middle;
  }
  return high;
}

double LimitTracker::ModelMs(LatencyMetric metric, double concurrency) const {
  return level_ * config_.model.LatencyMs(metric, concurrency, payload_);
}

double LimitTracker::QuantileRatio(size_t target) const {
  return std::exp(spreads_[target].Quantile(config_.targets[target].quantile));
}

double LimitTracker::Attainment(size_t target, double concurrency) const {
  const Target& t = config_.targets[target];
  return spreads_[target].ShareBelow(std::log(t.target_ms / ModelMs(t.metric, concurrency)));
}

double LimitTracker::LeastAttainment(double concurrency) const {
  double least = 1;
  for (size_t i = 0; i < config_.targets.size(); ++i) least = std::min(least, Attainment(i, concurrency));
  return least;
}

bool LimitTracker::Holds(double concurrency) const {
  for (size_t i = 0; i < config_.targets.size(); ++i) {
    if (Attainment(i, concurrency) < config_.targets[i].quantile) return false;
  }
  return true;
}

int LimitTracker::Best() const {
  int best = std::clamp(config_.believed, 1, std::max(1, config_.most));
  while (best > 1 && LeastAttainment(best) < kAllAttain) --best;
  double most = 0;
  for (int k = best; k <= config_.most; ++k) {
    if (k > 1 && !Holds(k)) break;  // latency only grows with k
    // Targets are missed together more often than not.
    const double goodput = LeastAttainment(k) * config_.model.TokensPerSecond(k, payload_) / level_;
    if (goodput > most) most = goodput, best = k;
  }
  return best;
}

int LimitTracker::Memory(int least) const { return std::max(least, kWavesMemory * limit_); }

PromptBudget LimitTracker::Prompts() const {
  PromptBudget budget{.step_ms = level_ * config_.model.StepMs(limit_),
                      .ms_per_token = level_ * config_.model.prompt_ms_per_token};
  double target_ms = kInfinity;
  for (const Target& t : config_.targets) {
    if (t.metric == LatencyMetric::kTimeToFirstToken) target_ms = std::min(target_ms, t.target_ms);
  }
  if (target_ms == kInfinity || budget.ms_per_token <= 0) return budget;
  const double left_ms = kPromptShare * target_ms - budget.step_ms;
  budget.tokens = static_cast<int64_t>(std::max(payload_.input_tokens, left_ms / budget.ms_per_token));
  return budget;
}

void LimitTracker::OnPromptComputed(int prompt_tokens, int decoding) {
  expected_ms_ += config_.model.prompt_ms_per_token * prompt_tokens * decoding;
  payload_.input_tokens += (prompt_tokens - payload_.input_tokens) / Memory(kPayloadMemory);
}

void LimitTracker::OnTokens(int tokens, double gap_ms, int decoding, int in_flight) {
  peak_in_flight_ = std::max(peak_in_flight_, in_flight);
  if (gap_ms <= 0 || tokens <= 0) return;
  gap_ms_ += gap_ms;
  expected_ms_ += tokens * config_.model.StepMs(decoding);
  tokens_ += tokens;
  in_flight_tokens_ += static_cast<double>(in_flight) * tokens;
}

void LimitTracker::FollowLevel() {
  if (tokens_ < kLeastTokens || in_flight_tokens_ < kLevelShare * limit_ * tokens_) return;
  const double fade = std::exp(-1 / kLevelMemory_s);
  if (past_expected_ms_ == 0) {  // as if it had long been so
    past_expected_ms_ = expected_ms_ / (1 - fade);
    past_gap_ms_ = level_ * past_expected_ms_;
  }
  past_gap_ms_ = fade * past_gap_ms_ + gap_ms_;
  past_expected_ms_ = fade * past_expected_ms_ + expected_ms_;
  level_ = past_gap_ms_ / past_expected_ms_;
}

void LimitTracker::OnStream(const TrackedStream& stream) {
  if (stream.output_tokens > 0)
    payload_.output_tokens += (stream.output_tokens - payload_.output_tokens) / Memory(kPayloadMemory);
  if (peak_in_flight_ < kLoadedShare * limit_) return;
  const auto after = std::partition_point(promises_.begin(), promises_.end(),
                                          [&](const Promise& p) { return p.at_s <= stream.admitted_s; });
  if (after == promises_.begin()) return;
  const Promise& promise = *std::prev(after);
  if (!promise.full) return;  // it came in a crowd and waited for all their prompts: that is over
  for (size_t i = 0; i < config_.targets.size(); ++i) {
    const double value = ValueOf(stream, config_.targets[i].metric);
    if (value <= 0) continue;
    if (stream.admitted_s >= epoch_s_) {
      recent_[i].push_back(value);
      if (recent_[i].size() > kMostRecent) recent_[i].pop_front();
    }
    spreads_[i].Add(std::log(value / promise.ms[i]), static_cast<size_t>(Memory(kStreamsMemory)));
  }
}

bool LimitTracker::Held() const {
  for (size_t i = 0; i < config_.targets.size(); ++i) {
    const Target& target = config_.targets[i];
    if (recent_[i].size() < kGuardStreams || QuantileOf(recent_[i], target.quantile) > target.target_ms) return false;
  }
  return !config_.targets.empty();
}

TrackMove LimitTracker::Guard(double now_s) {
  for (size_t i = 0; i < config_.targets.size(); ++i) {
    if (recent_[i].size() < kGuardStreams) continue;
    const Target& target = config_.targets[i];
    const double seen = QuantileOf(recent_[i], target.quantile);
    if (seen <= kGuardExcess * target.target_ms) continue;
    hold_until_s_ = now_s + kGuardHold_s;
    return MoveTo(
        static_cast<int>(limit_ * std::max(kDeepestCut, target.target_ms / seen)), "guard",
        absl::StrFormat("%s p%.0f %.1f ms over %d streams, target %.1f ms", std::string(NameOf(target.metric)),
                        100 * target.quantile, seen, recent_[i].size(), target.target_ms),
        now_s);
  }
  return {};
}

TrackMove LimitTracker::MoveTo(int limit, const std::string& reason, std::string evidence, double now_s) {
  limit = std::clamp(limit, 1, std::max(1, config_.most));
  if (limit == limit_) return {};
  limit_ = limit;
  epoch_s_ = now_s;
  for (auto& values : recent_) values.clear();
  return {limit, reason, std::move(evidence)};
}

TrackMove LimitTracker::Retarget(std::vector<Target> targets, int most, std::optional<Payload> workload, double now_s) {
  std::vector<Spread> spreads;
  for (const Target& target : targets) {
    Spread spread(PriorDeviation(target.metric));
    for (size_t i = 0; i < config_.targets.size(); ++i) {
      if (config_.targets[i].metric == target.metric) spread = spreads_[i];
    }
    spreads.push_back(spread);
  }
  const bool only_bounds = config_.targets == targets && !workload;
  if (workload) payload_ = *workload;
  config_.targets = std::move(targets);
  config_.most = std::max(1, most);
  spreads_ = std::move(spreads);
  recent_.assign(config_.targets.size(), {});
  promises_.clear();
  // A ceiling only cuts; what else the limit should be is for the ticks under load to say.
  if (config_.targets.empty() || only_bounds) {
    return limit_ > config_.most ? MoveTo(config_.most, "ceiling", "", now_s) : TrackMove{};
  }
  return MoveTo(Best(), "objectives", "", now_s);
}

TrackMove LimitTracker::OnTick(int in_flight, double now_s) {
  if (config_.targets.empty()) return {};
  FollowLevel();
  const bool loaded = peak_in_flight_ >= kLoadedShare * limit_;
  gap_ms_ = expected_ms_ = in_flight_tokens_ = 0, tokens_ = 0, peak_in_flight_ = in_flight;

  TrackMove move = Guard(now_s);
  if (const int best = Best(); move.limit == 0 && loaded) {
    const Target& target = config_.targets.front();
    const auto evidence = [&] {
      return absl::StrFormat(
          "the engine takes %.2f of its calibrated time; %d at once: %s %.1f ms in the mean, %.0f %% of requests "
          "within %.0f ms",
          level_, best, std::string(NameOf(target.metric)), std::exp(spreads_[0].mean()) * ModelMs(target.metric, best),
          100 * Attainment(0, best), target.target_ms);
    };
    if (best < limit_ * (1 - kDeadBand)) {
      move = MoveTo(std::max(best, static_cast<int>(kDeepestFall * limit_)), "track", evidence(), now_s);
    } else if (best > limit_ * (1 + kDeadBand) && now_s >= hold_until_s_ && now_s >= last_rise_s_ + kRisePeriod_s) {
      last_rise_s_ = now_s;
      move = MoveTo(std::min(best, std::max(limit_ + 1, static_cast<int>(kRise * limit_))), "track", evidence(), now_s);
    }
  }
  Promise promise{.at_s = now_s, .full = loaded};
  for (const Target& target : config_.targets) promise.ms.push_back(ModelMs(target.metric, limit_));
  promises_.push_back(std::move(promise));
  if (promises_.size() > kPromises) promises_.pop_front();
  return move;
}

}  // namespace patella::science
