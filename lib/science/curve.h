// The latency-throughput curve of one replica under c concurrent requests, and its fit.
//
//   R(c) = a + b·min(c, B)        ms per output token, mean over a closed loop   (times c/B beyond B)
//   X(c) = 1000·c / R(c)          output tokens per second                        (Little's law)
//
// Units are in the names: Ms, PerSecond, Tokens. Thread-compatible: values, no shared state.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace patella::science {

struct CurvePoint {
  int concurrency;           // requests in flight, ≥ 1
  double mean_ms_per_token;  // token-weighted end-to-end, so that Little's law can check it
  double tokens_per_second;
  int samples;  // finished requests (or gaps) behind the two figures
};

struct Law {
  double a_ms = 0;  // one request alone would take a + b
  double b_ms = 0;  // each further request in the batch
  double cap = std::numeric_limits<double>::infinity();  // B: requests whose KV fits

  double MsPerToken(double concurrency) const;
  double TokensPerSecond(double concurrency) const;
};

}  // namespace patella::science
