// What the tuner is asked for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sidecar/tuner/learned.h"
#include "sidecar/tuner/view.h"

namespace patella::sidecar {

enum class TuningMode {
  kAuto,    // calibrate, then enforce and track the limit
  kAdvise,  // calibrate and say what the limit would be; enforce only the ceiling
  kOff,     // enforce the ceiling, measure nothing
};

// What of the options may change while traffic flows.
struct TunerPolicy {
  TuningMode mode = TuningMode::kAuto;
  std::vector<science::Target> targets;
  // Where there is no target: kHalfLatency, kKleinrock or kUtilization.
  science::KneeDefinition knee_definition = science::KneeDefinition::kUtilization;
  double knee_utilization = 0.7;  // for kUtilization
  int input_tokens = 256;         // of a typical request
  int output_tokens = 256;
  int ceiling = 0;                // MAX_CONCURRENT_REQUESTS; 0: none
  double max_calibration_s = 90;  // of the next calibration
  bool operator==(const TunerPolicy&) const = default;
};

struct TunerOptions : TunerPolicy {
  uint64_t seed = 1;
  Learned resumed;  // what a restart remembers of a calibration with the same settings; limit 0: nothing
  // One of several replicas, kept running by others: it asks its peers before it measures, and what fails is tried again here, because
  // a program that ends would only be started again.
  bool clustered = false;
};

// Everything of the options that, when changed, makes a learned limit worthless.
std::string KeyOf(const TunerOptions& options);

constexpr int kDefaultCeiling = 128;  // TGI's default, where the user gave none and nothing has been learned

}  // namespace patella::sidecar
