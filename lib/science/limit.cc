#include "lib/science/limit.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "lib/science/closed_loop.h"

namespace patella::science {
namespace {

constexpr double kFarthest = 4096;  // no replica is asked for more
constexpr double kMostCorrection = 0.3;
constexpr double kNoKneeLimit = 2;  // where batching gains nothing and no target binds

double TtftMs(const std::vector<TtftPoint>& points, double concurrency) {
  if (points.empty()) return 0;
  if (points.size() == 1 || concurrency <= points.front().concurrency) return points.front().ms;
  size_t i = 1;
  while (i + 1 < points.size() && points[i].concurrency < concurrency) ++i;
  const TtftPoint &low = points[i - 1], &high = points[i];
  const double slope = std::max(0.0, (high.ms - low.ms) / (high.concurrency - low.concurrency));
  return low.ms + slope * (concurrency - low.concurrency);
}

}  // namespace

double QuantileMs(const LimitInputs& inputs, LatencyMetric metric, double concurrency) {
  switch (metric) {
    case LatencyMetric::kTimePerOutputToken:
      return inputs.time_per_output_token.MsPerToken(concurrency) * inputs.time_per_output_token_ratio;
    case LatencyMetric::kTimeToFirstToken:
      return TtftMs(inputs.ttft, concurrency) * inputs.ttft_ratio;
    case LatencyMetric::kEndToEnd:
      return inputs.end_to_end.MsPerToken(concurrency) * inputs.output_tokens * inputs.end_to_end_ratio;
  }
  return 0;
}

namespace {

// The largest c that meets the target, taking the lowest crossing where the latency is not monotone.
double LargestMeeting(const LimitInputs& inputs, const Target& target, double most) {
  const double target_ms = target.target_ms / (1 + inputs.margin);
  double low = 1;
  for (double c = 1;; c = std::min(most, c * 1.02)) {
    if (QuantileMs(inputs, target.metric, c) > target_ms) {
      double high = c;
      for (int i = 0; i < 50; ++i) {
        const double middle = 0.5 * (low + high);
        (QuantileMs(inputs, target.metric, middle) <= target_ms ? low : high) = middle;
      }
      return low;
    }
    low = c;
    if (c >= most) return most;
  }
}

BoundBy BoundOf(LatencyMetric metric) {
  switch (metric) {
    case LatencyMetric::kTimePerOutputToken:
      return BoundBy::kTimePerOutputToken;
    case LatencyMetric::kTimeToFirstToken:
      return BoundBy::kTimeToFirstToken;
    case LatencyMetric::kEndToEnd:
      return BoundBy::kEndToEnd;
  }
  return BoundBy::kKnee;
}

absl::Status CheckTarget(const LimitInputs& inputs, const Target& target) {
  if (!(target.quantile > 0 && target.quantile < 1)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("quantile %g: expected a number between 0 and 1", target.quantile));
  }
  if (target.metric == LatencyMetric::kTimeToFirstToken && inputs.ttft.empty()) {
    return absl::InvalidArgumentError("a TimeToFirstToken target needs measured times to first token");
  }
  const double alone = QuantileMs(inputs, target.metric, 1);
  if (alone <= target.target_ms) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("%s cannot be met: one request alone needs %.4g ms; the nearest target that can is %.0f ms",
                      TextOf(target), alone, NearestTargetMs(alone)));
}

void Lower(double concurrency, BoundBy bound, Limit& limit) {
  if (concurrency >= limit.exact) return;
  limit.exact = concurrency;
  limit.bound_by = bound;
}

}  // namespace

std::string_view NameOf(BoundBy bound) {
  switch (bound) {
    case BoundBy::kTimePerOutputToken:
      return "TimePerOutputToken";
    case BoundBy::kTimeToFirstToken:
      return "TimeToFirstToken";
    case BoundBy::kEndToEnd:
      return "EndToEnd";
    case BoundBy::kKvCapacity:
      return "KvCapacity";
    case BoundBy::kTimeout:
      return "Timeout";
    case BoundBy::kKnee:
      return "Knee";
    case BoundBy::kCeiling:
      return "Ceiling";
  }
  return "";
}

absl::StatusOr<Limit> ChooseLimit(const LimitInputs& inputs) {
  const Law& law = inputs.end_to_end.law;
  Limit limit{.exact = kFarthest, .bound_by = BoundBy::kCeiling, .batching_gains = BatchingGains(law)};
  for (const Target& target : inputs.targets) {
    if (absl::Status status = CheckTarget(inputs, target); !status.ok()) return status;
    Lower(LargestMeeting(inputs, target, limit.exact), BoundOf(target.metric), limit);
  }
  if (inputs.targets.empty()) {
    const auto knee = Knee(inputs.knee, law, {.utilization = inputs.knee_utilization});
    Lower(knee ? std::max(1.0, knee->concurrency) : kNoKneeLimit, BoundBy::kKnee, limit);
  }
  Lower(std::min(law.cap, inputs.kv_capacity), BoundBy::kKvCapacity, limit);
  if (std::isfinite(inputs.timeout_s)) {
    Lower(TimeoutCeiling(PeakTokensPerSecond(law), inputs.timeout_s, inputs.output_tokens), BoundBy::kTimeout, limit);
  }
  if (inputs.ceiling > 0) Lower(inputs.ceiling, BoundBy::kCeiling, limit);
  limit.exact = std::max(1.0, limit.exact);
  limit.limit = static_cast<int>(std::floor(limit.exact + 1e-6));
  const double c = limit.limit;
  limit.utilization = UtilizationAt(law, c);
  limit.time_per_output_token_ms = inputs.time_per_output_token.MsPerToken(c);
  limit.end_to_end_ms_per_token = inputs.end_to_end.MsPerToken(c);
  limit.ttft_ms = TtftMs(inputs.ttft, c);
  limit.tokens_per_second = inputs.end_to_end.TokensPerSecond(c);
  return limit;
}

LimitInputs InputsFrom(const RampResult& ramp, int output_tokens) {
  LimitInputs inputs{.time_per_output_token = ramp.time_per_output_token,
                     .end_to_end = ramp.end_to_end,
                     .output_tokens = output_tokens};
  for (const RampLevel& level : ramp.levels) {
    if (level.ttft_ms > 0) inputs.ttft.push_back({static_cast<double>(level.concurrency), level.ttft_ms});
  }
  inputs.time_per_output_token_ratio = inputs.end_to_end_ratio = ramp.p90_over_mean;
  return inputs;
}

namespace {

// Both the law and, through it, the corrections that hang on it.
void ScaleCurve(double factor, Curve& curve) {
  curve.law.a_ms *= factor;
  curve.law.b_ms *= factor;
}

double Bounded(double factor) { return std::clamp(factor, 1 - kMostCorrection, 1 + kMostCorrection); }

}  // namespace

void CorrectBy(const ClosedLoopResult& measured, double quantile, LimitInputs& inputs) {
  const double c = measured.concurrency;
  const auto ratio = [&](LatencyMetric metric) {
    const double mean = measured.MeanMs(metric);
    return mean > 0 ? std::max(1.0, measured.QuantileMs(metric, quantile) / mean) : 1.0;
  };
  const double per_output = measured.MeanMs(LatencyMetric::kTimePerOutputToken);
  if (per_output > 0) {
    ScaleCurve(Bounded(per_output / inputs.time_per_output_token.MsPerToken(c)), inputs.time_per_output_token);
    inputs.time_per_output_token_ratio = ratio(LatencyMetric::kTimePerOutputToken);
  }
  if (measured.mean_ms_per_token > 0) {
    ScaleCurve(Bounded(measured.mean_ms_per_token / inputs.end_to_end.MsPerToken(c)), inputs.end_to_end);
    inputs.end_to_end_ratio = ratio(LatencyMetric::kEndToEnd);
  }
  const double ttft = measured.MeanMs(LatencyMetric::kTimeToFirstToken), expected = TtftMs(inputs.ttft, c);
  if (ttft > 0 && expected > 0) {
    for (TtftPoint& point : inputs.ttft) point.ms *= ttft / expected;
    inputs.ttft_ratio = ratio(LatencyMetric::kTimeToFirstToken);
  }
}

}  // namespace patella::science
