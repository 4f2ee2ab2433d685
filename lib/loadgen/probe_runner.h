// Runs a science::Probe against a real engine: carries out what the probe asks for, and tells it what came back and when.
//
// Everything happens on the Loop's thread; nothing blocks. Token times are taken when bytes arrive, before they are parsed. Before the probe
// begins, one short request is sent to learn how many words make a token for this model and to see that the engine answers
// at all; its tokens are counted in the outcome.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "lib/adapters/generation.h"
#include "lib/base/clock.h"
#include "lib/http/loop.h"
#include "lib/science/probe.h"

namespace patella::loadgen {

struct ProbeOptions {
  Duration deadline = std::chrono::seconds(90);  // of the whole probe; then DeadlineExceeded
  Duration tick = std::chrono::milliseconds(20);
  Duration stall_timeout = std::chrono::seconds(30);  // no byte from any open stream for so long: the engine hangs
  uint64_t seed = 1;
  std::function<void(const science::ProbeProgress&)> on_progress;  // at most every 100 ms, and at the end
};

struct ProbeOutcome {
  // OK: the probe is done; ask it for its result. Unavailable: the engine went away (three connection failures in a row);
  // DeadlineExceeded; ResourceExhausted: it turned requests away; FailedPrecondition: it refused the first request, with its own words.
  absl::Status status;
  int64_t output_tokens = 0;  // received, of all streams
  int64_t prompt_tokens = 0;  // sent, as asked for
  int streams = 0;
  int failed_streams = 0;
  double seconds = 0;
  // Self-check: the 99th percentile of how late our own 20 ms tick ran. Much more than a token's time means that this process, not
  // the engine, was the bottleneck.
  double late_ms_p99 = 0;
  bool generator_bound = false;
};

// Dropping a ProbeRunner cancels its streams; on_done then never runs.
class ProbeRunner {
 public:
  // `probe` must outlive the runner. on_done runs once, posted to the loop; it may destroy the runner.
  static std::unique_ptr<ProbeRunner> Start(http::Loop& loop, const adapters::EngineTarget& target,
                                            science::Probe& probe, ProbeOptions options,
                                            std::function<void(const ProbeOutcome&)> on_done);
  virtual ~ProbeRunner() = default;
};

// The same on a loop of its own, blocking: for command-line tools.
ProbeOutcome RunProbe(const adapters::EngineTarget& target, science::Probe& probe, ProbeOptions options);

}  // namespace patella::loadgen
