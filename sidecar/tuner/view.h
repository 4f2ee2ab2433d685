// What the tuner knows and does, as plain values: the status page, /status.json and the metrics are drawn from it.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "lib/science/track.h"

namespace patella::sidecar {

enum class TunerState { kBoot, kWarmUp, kRamp, kVerify, kReady, kDegraded };
std::string_view NameOf(TunerState state);  // "Boot", "WarmUp", …

// How the program ends when a calibration cannot succeed.
enum ExitCode { kExitImpossibleTarget = 3, kExitEngineGone = 4, kExitTooNoisy = 5 };

struct ProgressView {
  std::string phase;
  int concurrency = 0;
  double gap_ms = 0;
  double fraction = 0;
};

// What a phase of the calibration spent.
struct PhaseView {
  std::string phase;  // "warm-up", "ramp", "return leg", "verify"
  double seconds = 0;
  long tokens = 0;  // prompt and output
};

struct KneeView {
  std::string definition;
  double concurrency = 0;
  double utilization = 0;
};

struct Decision {
  double time_s = 0;  // on the tuner's clock; since the epoch where it is told (sidecar/app/decision_log.h)
  std::string what;   // "limit"
  double from = 0, to = 0;
  std::string reason;    // one word: the label of patella_decisions_total
  std::string evidence;  // a sentence with figures
};

struct TunerView {
  TunerState state = TunerState::kBoot;
  std::string message;  // what it does now, or why it failed
  std::string error;    // why the last calibration failed; "" once one has succeeded
  int failure = 0;      // an ExitCode: the kind of that error
  int exit_code = 0;    // the program ends with it
  ProgressView progress;
  int limit = 0;    // in force; 0 before the first one
  int ceiling = 0;  // 0: none
  std::string bound_by;
  std::string confidence = "Low";
  std::vector<science::Target> targets;
  int input_tokens = 0, output_tokens = 0;
  std::vector<science::CurvePoint> points;
  double a_ms = 0, b_ms = 0;
  double cap = std::numeric_limits<double>::infinity();
  double fit_error_ratio = 0;
  science::StepModel step_model;
  std::vector<science::Verification> verify;
  std::vector<KneeView> knees;
  long calibration_tokens = 0;
  double calibration_seconds = 0;
  std::vector<PhaseView> phases;
  std::vector<Decision> decisions;  // the last 10, oldest first
};

}  // namespace patella::sidecar
