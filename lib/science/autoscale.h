// How many replicas the offered load needs.
//
//   A = L·(1 + rejected/admitted)      offered concurrency, requests: L in flight, of the share that was admitted
//   B(n) = ErlangB(A/n, K)             share turned away when a Service spreads requests at random over n replicas of limit K
//   n* = the least n with B(n) ≤ b     within [min, max]
//
// Up at once, at most doubling, then a pause until the new replicas count; down only when fewer have been enough for the whole
// stabilisation window. ErlangB is the loss formula of A. K. Erlang (1917); rejected requests that are sent again count again, which
// is why a step at most doubles. Pure and deterministic; times in seconds. Not thread-safe.
#pragma once

#include <deque>
#include <string>

namespace patella::science {

// Probability that all `servers` are busy under `offered` erlangs. 0 servers: 1.
double ErlangB(double offered, int servers);

// Least number of replicas, each with `limit` concurrent requests, of which random spreading turns away at most `blocking`.
// At least 1 and at most `most`.
int ReplicasFor(double offered, int limit, double blocking, int most);

struct AutoscaleConfig {
  int min_replicas = 1, max_replicas = 8;
  double stabilization_s = 600;
  double blocking = 0.01;
  double pause_s = 60;   // after a rise; a replica needs so long to start and calibrate
  double memory_s = 30;  // of the offered load
};

struct LoadSample {
  int in_flight = 0;               // over all replicas
  double admitted_per_second = 0;  // over all replicas
  double rejected_per_second = 0;
  int limit = 0;     // of one replica; 0: not known yet
  int replicas = 1;  // wanted now
};

struct ScaleDecision {
  int replicas = 0;      // 0: stay
  int desired = 0;       // what the load asks for, before bounds, window and pause
  double offered = 0;    // A, smoothed
  std::string evidence;  // a sentence, if replicas ≠ 0
};

class Autoscaler {
 public:
  explicit Autoscaler(AutoscaleConfig config) : config_(config) {}

  void SetConfig(const AutoscaleConfig& config) { config_ = config; }
  // Samples some seconds apart, in order.
  ScaleDecision OnSample(const LoadSample& sample, double now_s);
  // The last decision could not be carried out: no pause follows from it.
  void NotDone() { raised_s_ = -1e300; }

 private:
  struct Past {
    double at_s;
    int desired;
  };
  AutoscaleConfig config_;
  double offered_ = 0, sampled_s_ = -1, began_s_ = 0, raised_s_ = -1e300;
  std::deque<Past> window_;
};

}  // namespace patella::science
