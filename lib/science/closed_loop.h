// A closed loop: c streams at all times, each followed by the next. The verify probe, and the measurement behind
// `patella bench`.
//
// The first wave is aged (stream i of c starts as if it had produced uᵢ·out tokens) so that streams end one by one from
// the beginning. Measuring begins a wave later, or (`kStarted`) as soon as each of them runs: those already have the
// ages of a busy server, and what is left of one counts as a sample of the time per output token if it is half an
// answer or 64 tokens long. It ends when the throughput is known well enough and the targets are decided, or after
// `max_waves`. Pure and deterministic; not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/science/curve.h"
#include "lib/science/probe.h"
#include "lib/science/verdict.h"

namespace patella::science {

enum class WarmUp { kWave, kStarted };

struct ClosedLoopConfig {
  int concurrency = 1;
  int input_tokens = 256;
  int output_tokens = 256;
  WarmUp warm_up = WarmUp::kWave;
  double half_width = 0.05;  // stop once the 95 % interval of the throughput is within ± this
  double max_waves = 5;      // of c requests, after the warm-up
  int min_requests = 6;      // after the warm-up, whatever the waves
  double max_seconds = 60;
  int max_total_tokens = 0;      // of one request that the engine accepts; 0: unknown
  std::vector<Target> targets;   // keep measuring until each is decided (or max_waves)
  std::string phase = "verify";  // in progress()
  uint64_t seed = 1;
};

struct RequestSample {
  double started_s = 0;
  // 0: not known, as only a part of the request was seen.
  double ttft_ms = 0;
  double time_per_output_token_ms = 0;
  double end_to_end_ms = 0;
  int output_tokens = 0;  // of a whole request, else 0
};

struct ClosedLoopResult {
  int concurrency = 0;
  double tokens_per_second = 0;
  double half_width_ratio = 0;  // 95 %, of the throughput; 0: unknown
  double mean_ms_per_token =
      0;  // token-weighted, end to end; from the throughput (Little) where no whole wave was seen
  double mean_time_per_output_token_ms = 0;
  double little_ratio = 0;
  std::vector<RequestSample> requests;  // after the warm-up
  int failed = 0;
  double seconds = 0;  // of the measurement, without warm-up
  double warm_up_seconds = 0;
  int64_t prompt_tokens = 0, output_tokens = 0;  // with the warm-up

  double QuantileMs(LatencyMetric metric, double quantile) const;  // of the requests
  double MeanMs(LatencyMetric metric) const;
  CurvePoint Point() const;
};

class ClosedLoop final : public Probe {
 public:
  explicit ClosedLoop(const ClosedLoopConfig& config);
  ~ClosedLoop() override;

  std::vector<ProbeAction> Begin(double now_s) override;
  std::vector<ProbeAction> OnTokens(int stream, int tokens, double now_s) override;
  std::vector<ProbeAction> OnEnd(int stream, bool ok, double now_s) override;
  std::vector<ProbeAction> OnTick(double now_s) override;
  bool done() const override;
  ProbeProgress progress() const override;

  // Once done(). Unavailable: streams kept failing; FailedPrecondition: no request ended in the time given.
  absl::StatusOr<ClosedLoopResult> Result() const;

 private:
  class Machine;
  std::unique_ptr<Machine> machine_;
};

// One verdict on all targets: kFail if one fails, else kUndecided if one is undecided. With no target: kPass.
Verdict Judge(const ClosedLoopResult& result, const std::vector<Target>& targets);

}  // namespace patella::science
