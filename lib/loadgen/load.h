// Sends a load and records every request: a closed loop (c clients, each sends its next request when the last has ended) or an open one
// (Poisson arrivals at a rate, whatever the server does).
//
// Free of coordinated omission: in an open loop latency counts from the intended arrival time. Nothing is retried. A closed loop begins with aged
// requests (client i of c asks for (i + ½)/c of the output), so that it does not march in step; those are warm-up and not measured.
// Requests of a closed loop that are still running at its end are cancelled and not recorded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "lib/adapters/generation.h"
#include "lib/base/clock.h"
#include "lib/http/loop.h"

namespace patella::loadgen {

struct RequestShape {
  int input_tokens = 128;
  int output_tokens = 64;
  double weight = 1;  // share among the shapes, need not sum to 1
};

struct LoadOptions {
  int concurrency = 1;         // closed loop, if rate_per_second is 0
  double rate_per_second = 0;  // open loop
  std::vector<RequestShape> shapes = {RequestShape{}};
  int max_requests = 0;  // measured ones, in a closed loop without refusals while others are answered; 0: no such bound
  Duration duration{};   // of the measured part; 0: no such bound. At least one of the two must be given
  // When the measured part of a closed loop begins; 0: once each client has seen one answer. First answers are never measured.
  Duration warm_up{};
  Duration timeout = std::chrono::seconds(120);  // of one request; it is then cancelled and recorded as failed
  // Of a closed loop's client after a 429, in the mean: half to one and a half of it, else all who were refused together come back
  // together, and what was free in between stays empty.
  Duration pause_when_refused = std::chrono::milliseconds(200);
  uint64_t seed = 1;
  std::function<void(double fraction)> on_progress;
};

// Times in seconds since the load began. Infinite where it did not come to that.
struct RequestRecord {
  double intended_s = 0;  // when it was meant to be sent
  double sent_s = 0;
  double first_token_s = 0;
  double last_token_s = 0;
  double end_s = 0;
  int http_status = 0;
  absl::StatusCode code = absl::StatusCode::kOk;
  int shape = 0;
  int prompt_tokens = 0;  // as the engine says, else as asked for
  int output_tokens = 0;
  bool measured = true;  // false: warm-up

  bool ok() const { return code == absl::StatusCode::kOk; }
  bool refused() const { return http_status == 429; }
  double ttft_ms() const { return 1e3 * (first_token_s - intended_s); }
  double tpot_ms() const;  // time per output token, first one excluded; of a single token: 0
  double e2e_ms() const { return 1e3 * (end_s - intended_s); }
};

struct TokenArrival {
  double at_s;
  int tokens;
};

struct LoadResult {
  absl::Status
      status;  // Unavailable: the server went away (ten connection failures in a row); records so far are there
  std::vector<RequestRecord> records;  // in the order of their ends, warm-up included
  std::vector<TokenArrival> arrivals;  // of all streams, cancelled ones too, in time order
  int concurrency = 0;                 // as asked for; 0: open loop
  double window_begin_s = 0;           // measured part
  double window_end_s = 0;
  double late_ms_p99 = 0;  // how late our own sends were
};

// Dropping a Load cancels its requests; on_done then never runs.
class Load {
 public:
  static std::unique_ptr<Load> Start(http::Loop& loop, const adapters::EngineTarget& target, LoadOptions options,
                                     std::function<void(LoadResult)> on_done);
  virtual ~Load() = default;
};

// The same on a loop of its own, blocking.
LoadResult RunLoad(const adapters::EngineTarget& target, LoadOptions options);

// The intended times of an open loop, ascending, all < duration_s: exponential gaps of mean 1/rate. The same seed gives the same times.
std::vector<double> PoissonTimes(double rate_per_second, double duration_s, uint64_t seed);

}  // namespace patella::loadgen
