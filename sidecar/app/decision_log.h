// The tuner's decisions as people are told of them: with the wall clock's time at which each was made. It is reckoned once, so that the
// same decision is told with the same time for ever, however the clock is set later. Pure. Not thread-safe.
#pragma once

#include <span>
#include <vector>

#include "sidecar/tuner/view.h"

namespace patella::sidecar {

class DecisionLog {
 public:
  // Takes over those that are new among the tuner's, which are in order, and returns them. `now_s` and `wall_now_s` (since the epoch) are
  // the same moment on both clocks.
  std::span<const Decision> Take(const std::vector<Decision>& decisions, double now_s, double wall_now_s);

  // As many as the tuner keeps, oldest first. time_s: since the epoch.
  const std::vector<Decision>& all() const { return all_; }

 private:
  std::vector<Decision> all_;
  double newest_s_ = -1e300;  // of those taken, on the tuner's clock
};

}  // namespace patella::sidecar
