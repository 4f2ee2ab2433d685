// What the halves of the tuner share: tuner_start.cc (until users are let in) and tuner.cc (from then on). Included by them alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

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

inline science::LatencyMetric MetricOf(const std::string& name) {
  if (name == "TimeToFirstToken") return science::LatencyMetric::kTimeToFirstToken;
  return name == "EndToEnd" ? science::LatencyMetric::kEndToEnd : science::LatencyMetric::kTimePerOutputToken;
}

inline std::vector<science::Target> TargetsOf(const TunerOptions& options) {
  std::vector<science::Target> targets;
  for (const TargetView& t : options.targets) targets.push_back({MetricOf(t.metric), t.quantile, t.target_ms});
  return targets;
}

inline science::KneeDefinition KneeOf(const std::string& name) {
  if (name == "HalfLatency") return science::KneeDefinition::kHalfLatency;
  return name == "Kleinrock" ? science::KneeDefinition::kKleinrock : science::KneeDefinition::kUtilization;
}

inline int CeilingOf(const TunerOptions& options) { return options.ceiling > 0 ? options.ceiling : kDefaultCeiling; }

}  // namespace patella::sidecar
