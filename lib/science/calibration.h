// From an unknown server to a verified limit: a ramp, the limit that its curve gives, and a closed loop that checks it.
//
//   ramp ─► solve ─► verify at K ─► holds, and the limit solved anew is within 10 %: done
//                      ▲   │
//                      └───┴─ else at the limit that the measured quantile gives, at most 3 times
//
// One Probe from start to end, so that whoever can run a probe can calibrate: the sidecar's tuner, `patella tune`, the
// simulator. The first K is a cautious one (the law's own error is taken off the target), so that one verification is
// the rule. Pure and deterministic: the same events give the same decision. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/science/knee.h"
#include "lib/science/limit.h"
#include "lib/science/phase_cost.h"
#include "lib/science/probe.h"
#include "lib/science/ramp.h"
#include "lib/science/verdict.h"

namespace patella::science {

struct CalibrationConfig {
  int input_tokens = 256;
  int output_tokens = 256;
  std::vector<Target> targets;
  KneeDefinition knee = KneeDefinition::kUtilization;  // where there is no target
  double knee_utilization = 0.7;
  int ceiling = 128;               // requests at once, never exceeded
  double kv_capacity = kInfinity;  // requests whose KV fits; 95 % of it are used
  int max_total_tokens = 0;        // prompt and output of one request that the engine accepts; 0: unknown
  double timeout_s = kPlatformTimeout_s;
  double max_seconds = 90;  // of everything
  uint64_t seed = 1;
};

struct Verification {
  int concurrency = 0;
  double quantile_ms = 0;  // of the first target's metric at its quantile
  double mean_ms_per_token = 0;
  double tokens_per_second = 0;
  bool passed = false;
  int requests = 0;
};

struct CalibrationResult {
  bool has_curve = false;  // the ramp is over: the figures below are filled in as they become known
  RampResult ramp;
  LimitInputs inputs;  // what the limit was solved from, moved to what the last verification measured
  std::vector<Verification> verifications;
  int limit = 0;  // 0: none found
  BoundBy bound_by = BoundBy::kKnee;
  bool batching_gains = true;
  bool high_confidence = false;
  bool noisy = false;    // every pass of the ramp was void: the curve is not to be trusted, whatever the limit
  std::string reason;    // "verified", "unverified", "budget"
  std::string evidence;  // a sentence with figures
  std::string doubt;     // why confidence is low; empty if all is well
  std::vector<PhaseCost> phases;
  double seconds = 0;
};

class Calibration final : public Probe {
 public:
  explicit Calibration(const CalibrationConfig& config);
  ~Calibration() override;

  std::vector<ProbeAction> Begin(double now_s) override;
  std::vector<ProbeAction> OnTokens(int stream, int tokens, double now_s) override;
  std::vector<ProbeAction> OnEnd(int stream, bool ok, double now_s) override;
  std::vector<ProbeAction> OnTick(double now_s) override;
  bool done() const override;
  ProbeProgress progress() const override;

  // Once done(). OutOfRange: a target lies below what one request alone needs (names the nearest that can be met);
  // Aborted: too noisy to tell; Unavailable: the engine fails the requests; FailedPrecondition: it cannot be measured.
  absl::StatusOr<CalibrationResult> Result() const;
  const CalibrationResult& last_result() const;  // what is known so far

 private:
  class Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace patella::science
