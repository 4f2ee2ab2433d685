// What the tuner is asked for.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

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
  std::vector<TargetView> targets;
  int ceiling = 0;  // 0: none
  bool operator==(const TunerPolicy&) const = default;
};

// What a restart remembers of a calibration with the same settings.
struct Resumed {
  int limit = 0;  // 0: nothing
  std::string bound_by;
  double a_ms = 0, b_ms = 0, cap = std::numeric_limits<double>::infinity();
  std::vector<PointView> points;
  science::StepModel step_model;
};

struct TunerOptions {
  TuningMode mode = TuningMode::kAuto;
  std::vector<TargetView> targets;
  std::string knee_definition = "Utilization";  // HalfLatency | Kleinrock | Utilization
  double knee_utilization = 0.7;                // for Utilization
  int input_tokens = 256;
  int output_tokens = 256;
  int ceiling = 0;  // MAX_CONCURRENT_REQUESTS; 0: none
  double max_calibration_s = 90;
  uint64_t seed = 1;
  Resumed resumed;
};

constexpr int kDefaultCeiling = 128;  // TGI's default, where the user gave none and nothing has been learned

}  // namespace patella::sidecar
