// Does "quantile q of the metric ≤ S" hold? Binomial statements about the share of requests that miss.
//
// Requests that ran together are not independent, so the error rates below are nominal; a verdict is worth what its number of waves is.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "lib/science/curve.h"

namespace patella::science {

enum class LatencyMetric { kTimePerOutputToken, kTimeToFirstToken, kEndToEnd };
std::string_view NameOf(LatencyMetric metric);  // "TimePerOutputToken", …

struct Target {
  LatencyMetric metric = LatencyMetric::kTimePerOutputToken;
  double quantile = 0.9;
  double target_ms = 0;  // EndToEnd: of the whole request, queue and prefill included
  bool operator==(const Target&) const = default;
};
std::string NameOf(const Target& target);  // "TimePerOutputToken p90", "EndToEnd p99.9"
std::string TextOf(const Target& target);  // "TimePerOutputToken p90 ≤ 50 ms"
// The least that a target allows for a token of a request of that many: infinity where none is about tokens. EndToEnd's is its share.
double TightestMsPerToken(std::span<const Target> targets, int output_tokens);
// The smallest target that a latency of `quantile_ms` meets. In whole milliseconds, as targets are set.
double NearestTargetMs(double quantile_ms);

// Wilson score interval of successes/n; z = 1.645: 90 % two-sided. [0, 1] if n = 0.
Interval Wilson(int successes, int n, double z = 1.645);

enum class Verdict { kPass, kFail, kUndecided };
std::string_view NameOf(Verdict verdict);

// Wald's sequential test, both errors 5 %, of a violation share of half the allowed (pass) against one and a half times it (fail):
// for p90 5 % against 15 %. May be asked after every request. Clean runs of p90 pass after 27 requests.
Verdict SequentialVerdict(int violations, int n, double quantile);

// For when no more may be sampled: the sequential verdict, or if it is open whether the observed share is within the allowed.
Verdict FinalVerdict(int violations, int n, double quantile);

}  // namespace patella::science
