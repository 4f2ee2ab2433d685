// The recent past of user traffic: throughput of the last 10 s, latency quantiles of streams that ended in the last 30 s.
// Pure: time is a parameter, never running backwards. Not thread-safe.
#pragma once

#include <deque>
#include <vector>

#include "sidecar/tuner/view.h"

namespace patella::sidecar {

class LiveWindow {
 public:
  void OnTokens(int tokens, double now_s);
  // One request that ended. Values ≤ 0: not known.
  void OnStream(double time_per_output_token_ms, double time_to_first_token_ms, double end_to_end_ms, double now_s);

  double TokensPerSecond(double now_s);
  double LatencyMs(science::LatencyMetric metric, double quantile, double now_s);  // 0: no stream ended lately
  // Of the target that is missed by most, or held by least: its quantile over the target. 0: nothing tells.
  double WorstTargetRatio(const std::vector<science::Target>& targets, double now_s);

 private:
  struct Tokens {
    double time_s;
    int tokens;
  };
  struct Stream {
    double time_s, ms_per_token, first_token_ms, end_to_end_ms;
  };
  void Forget(double now_s);

  std::deque<Tokens> tokens_;
  std::deque<Stream> streams_;
};

}  // namespace patella::sidecar
