// What the halves of the tuner share: tuner_start.cc (until users are let in) and tuner.cc (from then on). Included by them alone.
#pragma once

#include <memory>

#include "lib/science/calibration.h"
#include "sidecar/tuner/tuner.h"

namespace patella::sidecar {

struct Tuner::Science {
  std::unique_ptr<science::Calibration> calibration;
  std::unique_ptr<science::LimitTracker> tracker;
  int ceiling = kDefaultCeiling;  // the user's, ours, or the engine's own limit
  int most = kDefaultCeiling;     // by ceiling and KV cache
  int bearable = 0;               // by the engine and its KV cache's share alone; 0: unknown
};

inline int CeilingOf(const TunerOptions& options) { return options.ceiling > 0 ? options.ceiling : kDefaultCeiling; }

}  // namespace patella::sidecar
