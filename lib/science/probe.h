// A measurement as a pure state machine: it says which streams to start and cancel, and is told what came back and when.
//
// Whoever runs it (lib/loadgen for real servers, the simulator in tests) calls each method with a monotonic time in seconds and
// carries out the returned actions at once. No I/O, no clock, no threads: the same events give the same actions.
#pragma once

#include <string>
#include <variant>
#include <vector>

namespace patella::science {

struct StartStream {
  int stream;             // id, unique in this probe
  int prompt_tokens;      // of fresh natural text (not in any prefix cache)
  int max_output_tokens;  // generated in full (ignore_eos)
};
struct CancelStream {
  int stream;
};
using ProbeAction = std::variant<StartStream, CancelStream>;

struct ProbeProgress {
  std::string phase;    // "warm-up", "ramp", "return leg", "verify"
  int concurrency = 0;  // streams now
  double gap_ms = 0;    // mean token gap at this level, 0 if not known yet
  double fraction = 0;  // 0 … 1, monotone
};

class Probe {
 public:
  virtual ~Probe() = default;
  virtual std::vector<ProbeAction> Begin(double now_s) = 0;
  // `tokens` (≥ 1) arrived together; the first call of a stream is its first token.
  virtual std::vector<ProbeAction> OnTokens(int stream, int tokens, double now_s) = 0;
  // The stream ended: completed, or failed (ok = false), or its cancellation is through.
  virtual std::vector<ProbeAction> OnEnd(int stream, bool ok, double now_s) = 0;
  virtual std::vector<ProbeAction> OnTick(double now_s) = 0;  // at least every 50 ms
  virtual bool done() const = 0;  // no more actions; streams still open may be cancelled by the runner
  virtual ProbeProgress progress() const = 0;
};

}  // namespace patella::science
