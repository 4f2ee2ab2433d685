// From what is known about a replica to its concurrency limit and what binds it.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/science/closed_loop.h"
#include "lib/science/knee.h"
#include "lib/science/ramp.h"
#include "lib/science/verdict.h"

namespace patella::science {

inline constexpr double kKvShare = 0.95;  // of the KV cache's requests that a limit may use: beyond it engines preempt

enum class BoundBy { kTimePerOutputToken, kTimeToFirstToken, kEndToEnd, kKvCapacity, kTimeout, kKnee, kCeiling };
std::string_view NameOf(BoundBy bound);  // "TimePerOutputToken", …, "KvCapacity", "Timeout", "Knee", "Ceiling"

struct TtftPoint {
  double concurrency = 0;
  double ms = 0;  // mean
};

struct LimitInputs {
  Curve time_per_output_token;  // means
  Curve end_to_end;             // means, per token
  std::vector<TtftPoint> ttft;  // ascending; may be empty unless a target asks for it
  int output_tokens = 256;
  std::vector<Target> targets;
  // Quantile over mean at the targets' quantile, per metric: from the verify probe, or priors.
  double time_per_output_token_ratio = 1.05;
  double ttft_ratio = 1.5;
  double end_to_end_ratio = 1.05;
  double margin = 0;               // of the quantiles, on the safe side: 0.05 keeps them 5 % below the targets
  double kv_capacity = kInfinity;  // requests
  double timeout_s = kInfinity;
  int ceiling = 0;  // 0: none
  // Only where no target is given: the knee stands in for it.
  KneeDefinition knee = KneeDefinition::kUtilization;
  double knee_utilization = 0.7;
};

struct Limit {
  int limit = 1;
  double exact = 1;  // before rounding down
  BoundBy bound_by = BoundBy::kKnee;
  bool batching_gains = true;  // false: "no knee"; the limit is then the targets', or 1 to 2
  double utilization = 0;
  double time_per_output_token_ms = 0;  // means at `limit`
  double end_to_end_ms_per_token = 0;
  double ttft_ms = 0;  // 0: unknown
  double tokens_per_second = 0;
};

// The latency of a metric at the targets' quantile under c requests, without the margin.
double QuantileMs(const LimitInputs& inputs, LatencyMetric metric, double concurrency);

// FailedPrecondition where a target lies below what one lone request needs; the message names the nearest target that can be met.
// InvalidArgument: a time-to-first-token target without points, or quantiles outside (0, 1).
absl::StatusOr<Limit> ChooseLimit(const LimitInputs& inputs);

// The inputs that a ramp can give.
LimitInputs InputsFrom(const RampResult& ramp, int output_tokens);
// Moves the inputs to what a verify probe measured at its concurrency: ratios of quantile to mean, and the curves' level (bounded to ± 30 %).
void CorrectBy(const ClosedLoopResult& measured, double quantile, LimitInputs& inputs);

}  // namespace patella::science
