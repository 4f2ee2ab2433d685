// The latency-throughput curve of one replica under c concurrent requests, and its fit.
//
//   R(c) = a + b·min(c, B)        ms per output token, mean over a closed loop   (times c/B beyond B)
//   X(c) = 1000·c / R(c)          output tokens per second                        (Little's law)
//
// Units are in the names: Ms, PerSecond, Tokens. Thread-compatible: values, no shared state.
//
// Two per-token latencies exist and are never mixed, with f the step time, P the cost of one arrival's prefill and `out` the answer's tokens:
//   time per output token   f(c) + (c − 1)·P(c)/out     from the first token to the last
//   end to end per token    f(c) + c·P(c)/out           with queue and prefill; only this one obeys Little's law
#pragma once

#include <limits>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace patella::science {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct CurvePoint {
  int concurrency;           // requests in flight, ≥ 1
  double mean_ms_per_token;  // token-weighted end-to-end, so that Little's law can check it
  double tokens_per_second;
  int samples;  // finished requests (or gaps) behind the two figures
};

struct Law {
  double a_ms = 0;                                       // one request alone would take a + b
  double b_ms = 0;                                       // each further request in the batch
  double cap = std::numeric_limits<double>::infinity();  // B: requests whose KV fits

  double MsPerToken(double concurrency) const;
  double TokensPerSecond(double concurrency) const;
};

// b·c/(a + b·c) for c ≤ B: the share of the throughput that batching without end would give. 0 … 1.
double UtilizationAt(const Law& law, double concurrency);
// The law without its cap would approach 1000/b; with a cap it stops at X(B). Infinity if b = 0 and there is no cap.
double PeakTokensPerSecond(const Law& law);

struct Interval {
  double low = 0;
  double high = kInfinity;
};

// X·R/(1000·c): 1 in a measurement whose figures belong together.
double LittleRatio(const CurvePoint& point);
// FailedPrecondition that names the points whose ratio is off by more than `tolerance`: a warm-up was counted in, a percentile was taken
// for a mean, requests were dropped, or the generator was the bottleneck.
absl::Status CheckLittle(std::span<const CurvePoint> points, double tolerance = 0.08);

struct FitOptions {
  double little_tolerance =
      0.08;              // infinity where only a percentile of the latency is known: then throughput alone is fitted
  bool find_cap = true;  // look for B below the largest concurrency; needs ≥ 4 points
  double known_cap = kInfinity;  // B from the engine's own KV figures; an upper bound for the one that is found
};

struct Fit {
  Law law;
  Interval a_ms, b_ms, cap;       // 90 %
  std::vector<double> residuals;  // one per point: ln(throughput by the law / measured)
  double error_ratio = 0;         // their mean size: 0.03 is 3 %
};

// Fits the law to the throughput by non-negative least squares on log residuals with Huber weights.
// Needs ≥ 2 distinct concurrencies and positive figures, else InvalidArgument. Points that break Little's law are refused as CheckLittle says.
absl::StatusOr<Fit> FitLaw(std::span<const CurvePoint> points, const FitOptions& options = {});

// What predictions are made from: the law, bent towards the points by as much as the points agree with their neighbours rather than
// with the law. Where a server has steps (padding, thread counts) that is the interpolation; where points are noisy, the law.
struct Curve {
  std::vector<CurvePoint> points;  // ascending concurrency
  Law law;
  double pull = 0;                  // 0: the law, 1: through the points
  std::vector<double> corrections;  // per point: ln(measured R / law's R)

  double MsPerToken(double concurrency) const;
  double TokensPerSecond(double concurrency) const;  // of the replica: 1000·c/R, if this is the end-to-end curve
  // The largest c (real-valued, in [1, most]) with MsPerToken(c) ≤ ms; 0 if already MsPerToken(1) is above.
  double ConcurrencyAt(double ms, double most) const;
};

// `points` as FitLaw wants them, any order. Points of the same concurrency are merged, weighted by samples.
Curve MakeCurve(std::span<const CurvePoint> points, const Law& law);

}  // namespace patella::science
