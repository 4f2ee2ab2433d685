// Figures from a load's records. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/loadgen/load.h"
#include "lib/science/verdict.h"

namespace patella::loadgen {

using LatencyMetric = science::LatencyMetric;
using LatencyTarget = science::Target;

// "tpot:p90:50", "ttft:p95:2s", "e2e:p50:800ms", or the long names. InvalidArgument says what is wrong and gives an example.
absl::StatusOr<LatencyTarget> ParseTarget(std::string_view text);
std::string ToText(const LatencyTarget& target);  // "p90 time per output token ≤ 50 ms"

double ValueOf(const RequestRecord& record, LatencyMetric metric);  // ms
bool Meets(const RequestRecord& record, const std::vector<LatencyTarget>& targets);

// Linear interpolation between order statistics; NaN when empty. Sorts a copy.
double Quantile(std::vector<double> values, double q);

struct Quantiles {
  double p50 = 0, p90 = 0, p99 = 0;
};

struct LoadSummary {
  int concurrency = 0;
  int completed = 0;  // measured and ended well
  int refused = 0;    // 429
  int failed = 0;
  double seconds = 0;
  double tokens_per_second = 0;       // arrivals in the window, warm streams and cancelled ones too
  double tokens_per_second_ci95 = 0;  // half-width, from batch means; 0: too short to tell
  double mean_ms_per_token = 0;       // end to end, weighted by tokens
  Quantiles tpot_ms, ttft_ms, e2e_ms;
  double goodput = 0;       // output tokens/s of requests that met every target, over all that were offered
  double attainment = 0;    // share of completed requests that met every target; 1 without targets
  double little_ratio = 0;  // tokens/s · mean s/token / concurrency: 1 when the books balance; 0: open loop
};

LoadSummary Summarize(const LoadResult& result, const std::vector<LatencyTarget>& targets);

}  // namespace patella::loadgen
