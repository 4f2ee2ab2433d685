// What one pass of the ramp saw, and the estimates from it. Private to the ramp.
#pragma once

#include <vector>

#include "lib/science/ramp.h"

namespace patella::science {

struct RampEvent {
  double at_s;
  int tokens;  // of the stream so far, those that arrived at `at_s` included
};

struct RampStream {
  int id = 0;
  int prompt_tokens = 0;
  int max_output_tokens = 0;
  double started_s = 0;
  std::vector<RampEvent> events;
  bool live = true;  // counts as running: not ended, not being cancelled

  int tokens() const { return events.empty() ? 0 : events.back().tokens; }
};

// One stream took the place of another. From `opened_s` (the place fell vacant) to `closed_s` gaps are not those of
// plain decoding.
struct RampArrival {
  size_t stream = 0;  // index in RampLog::streams
  int concurrency = 0;
  double opened_s = 0;
  double closed_s = kInfinity;
  bool usable = true;  // false: another arrival overlapped, or it never got going
};

struct RampWindow {
  int concurrency = 0;
  double opened_s = 0;
  double closed_s = kInfinity;
  bool returning = false;
};

struct RampLog {
  std::vector<RampStream> streams;
  std::vector<RampArrival> arrivals;
  std::vector<RampWindow> windows;
};

// Mean gap of the window's undisturbed stretches. tokens = 0 if there was none.
struct GapEstimate {
  double mean_ms = 0;
  int tokens = 0;
  std::vector<double> single_ms;      // per token, for quantiles
  std::vector<double> block_mean_ms;  // means over some four tokens of a stream
};
GapEstimate EstimateGap(const RampLog& log, const RampWindow& window);

// 95 % half-width of the window's mean gap, relative. Streams share their steps, so that the k-th gaps of all streams
// are one observation. Infinity with fewer than three of them.
double GapHalfWidth(const RampLog& log, const RampWindow& window);

// What one arrival cost: from the survivors' own time stamps, t[j + m] − t[j] − m·gap over the stretch that holds the
// prefill; for a lone stream its time to first token less one gap. False if no survivor spans the stretch.
bool EstimatePrefill(const RampLog& log, const RampArrival& arrival, double gap_ms, double& prefill_ms);

// Levels, P(n) and curves from all closed windows. FailedPrecondition if fewer than two levels could be measured.
absl::StatusOr<RampResult> EstimateRamp(const RampLog& log, const RampConfig& config);

}  // namespace patella::science
