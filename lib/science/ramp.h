// The ramp: one pass of growing, aged streams that identifies the whole curve in some ten seconds and few tokens.
//
//   warm-up     waves of two short streams until they get no faster (a healthy server is not yet a warm one)
//   ramp        levels of 1, 2, 4, 8, … streams; the last one is chosen to lie where the target is expected. Stream i
//               starts as if it had already produced uᵢ·out tokens (its prompt is longer by as many), so contexts are
//               those of a busy server without waiting for one. Each level: 8 token gaps of every stream, more until
//               their mean is known to 2.5 %; then two replacements: one stream ends and a fresh one starts, as in a
//               closed loop; what that costs the others is P, the price of an arrival.
//   return leg  back to one or two low levels. If they differ by more than 10 % from the way up, the server changed under
//               our hands: void, again (at most `max_repeats` times); the reason is kept.
//
// From it: f(n) = mean gap at n streams, P(n), and the two curves
//
//   time per output token = f + (n − 1)·P/out        end to end = f + n·P/out
//
// Gaps are means over windows between token counts, never medians of single gaps: servers that send several tokens
// together, or that alternate prefill and decode steps, give the same figure. Pure and deterministic; not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/science/curve.h"
#include "lib/science/probe.h"

namespace patella::science {

struct RampConfig {
  int input_tokens = 256;
  int output_tokens = 256;
  double target_ms = kInfinity;       // mean time per output token at which the climb ends; infinity: no such end
  double ttft_target_ms = kInfinity;  // likewise, of the mean time to first token
  double max_utilization = 1;  // of the law, at which the climb ends: what lies above the wanted knee is of no interest
  int max_concurrency = 128;
  double max_seconds = 15;  // of one pass, without the warm-up
  double max_warm_up_seconds = 30;
  double max_total_seconds = kInfinity;  // no pass is repeated that would not be over by then
  int64_t max_tokens = 0;                // prompt and output of all streams; 0: no such stop
  int max_total_tokens = 0;              // prompt and output of one request that the engine accepts; 0: unknown
  int max_repeats = 2;                   // of a void pass
  uint64_t seed = 1;
};

struct RampLevel {
  int concurrency = 0;
  double gap_ms = 0;      // mean, f(n)
  double gap_p90_ms = 0;  // of single gaps of one stream
  double ttft_ms = 0;     // mean, of the streams that started while the others ran; 0: none did
  double prefill_ms = 0;  // P(n) as measured here; 0: none
  int tokens = 0;         // behind gap_ms
  int arrivals = 0;       // behind prefill_ms
};

struct RampResult {
  std::vector<RampLevel> levels;  // ascending
  Curve time_per_output_token;    // mean, against concurrency
  Curve end_to_end;               // per token; the one whose law, knees and throughput count
  Fit fit;                        // of end_to_end
  // P(n) = prefill_ms + prefill_slope_ms·n for n ≥ 2; and what a prompt token costs, if the two prompt lengths could
  // tell (else 0).
  double prefill_ms = 0, prefill_slope_ms = 0, prefill_ms_per_token = 0;
  double p90_over_mean = 1;  // of a request's time per output token: a prior, to be replaced by the verify probe's
  int64_t prompt_tokens = 0, output_tokens = 0;
  double seconds = 0, warm_up_seconds = 0;
  int void_passes = 0;
  bool high_confidence = false;  // not void, and the law within 10 %
  std::string stopped_by;        // "target", "ceiling", "knee", "throughput falls", "time", "tokens", "engine queues"
  std::string remark;            // why passes were void or confidence is low; empty if all is well

  double StepMs(double concurrency) const;     // f
  double PrefillMs(double concurrency) const;  // P
  double TtftMs(double concurrency) const;     // mean, in a closed loop
};

class Ramp final : public Probe {
 public:
  explicit Ramp(const RampConfig& config);
  ~Ramp() override;

  std::vector<ProbeAction> Begin(double now_s) override;
  std::vector<ProbeAction> OnTokens(int stream, int tokens, double now_s) override;
  std::vector<ProbeAction> OnEnd(int stream, bool ok, double now_s) override;
  std::vector<ProbeAction> OnTick(double now_s) override;
  bool done() const override;
  ProbeProgress progress() const override;

  // Once done(). Unavailable: streams kept failing; FailedPrecondition: not even two levels could be measured, as with
  // a ceiling of 1; Aborted: void to the last repeat, so too noisy to tell (the figures are then in `last_result`).
  absl::StatusOr<RampResult> Result() const;
  const RampResult& last_result() const;

 private:
  class Machine;
  std::unique_ptr<Machine> machine_;
};

}  // namespace patella::science
