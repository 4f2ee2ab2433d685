// Every definition of "the knee", as a closed form in the law (a, b, B). They differ by 2.5 to 5 times in concurrency on one curve, so
// whoever shows a knee names its definition. With u = b·c/(a + b·c) the utilisation:
//
//   Kleinrock power           c = a/b             u = 0.50     X/R is largest; also where the two asymptotes of X cross
//   doubling gains 25 %       c = 1.5·a/b         u = 0.60
//   utilisation u             c = (a/b)·u/(1 − u)
//   half latency (Patel)      c = 2.513·a/b       u = 0.715    R is twice the mean of R up to that load
//   latency target S          c = (S − a)/b       u = 1 − a/S
//   KV cap                    c = B
//   timeout T                 c = 0.8·T·X∞/out
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "lib/science/curve.h"

namespace patella::science {

enum class KneeDefinition { kLatencyTarget, kHalfLatency, kKleinrock, kUtilization, kDoublingGain25, kKvCap, kTimeout };
std::string_view NameOf(KneeDefinition definition);  // "LatencyTarget", "HalfLatency", …

struct KneeEstimate {
  KneeDefinition definition;
  double concurrency = 0;  // real-valued; never above the cap B
  double utilization = 0;
  double ms_per_token = 0;
  double tokens_per_second = 0;
  bool at_cap = false;  // the definition asks for more than fits
};

inline constexpr double kPlatformTimeout_s = 60;  // what platforms commonly give a request

struct KneeInputs {
  double target_ms = kInfinity;  // mean, on the latency that the law describes; infinity: no latency target
  double utilization = 0.7;
  double kv_cap = kInfinity;  // if known better than the law's own
  double timeout_s = kInfinity;
  int output_tokens = 0;  // for the timeout; 0: leave it out
};

inline constexpr double kHalfLatencyRatio = 2.5128624172523377;        // u/(1 − u) of the next line
inline constexpr double kHalfLatencyUtilization = 0.7153318629591614;  // root of 1/(1 − u) = −2·ln(1 − u)/u: M/M/1

// a/b ≥ 1. Otherwise a second request costs as much as the first: batching gains nothing and the curve has no knee.
bool BatchingGains(const Law& law);

// All that apply to the inputs, in the order of the enum. Knees of the curve's own shape (half latency, Kleinrock,
// utilisation, doubling) are left out where batching gains nothing.
std::vector<KneeEstimate> AllKnees(const Law& law, const KneeInputs& inputs = {});
std::optional<KneeEstimate> Knee(KneeDefinition definition, const Law& law, const KneeInputs& inputs = {});

// 0.8·T·X∞/out: the most requests of `output_tokens` each that end within the time-out.
double TimeoutCeiling(double peak_tokens_per_second, double timeout_s, int output_tokens);

}  // namespace patella::science
