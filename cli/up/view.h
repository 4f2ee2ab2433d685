// What the sidecar says of itself on /status.json, as values; and as a Report for people.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/report/report.h"
#include "lib/api/inference_deployment.h"
#include "lib/science/calibration.h"

namespace patella::cli {

struct SidecarView {
  std::string state;  // Boot | WarmUp | Ramp | Verify | Ready | Degraded
  std::string message;
  std::string error;
  std::string phase;
  int concurrency = 0;
  double gap_ms = 0;
  double fraction = 0;
  int limit = 0;
  std::string bound_by;
  std::string confidence;
  std::vector<science::CurvePoint> points;
  double a_ms = 0, b_ms = 0;
  std::optional<double> cap;
  double fit_error_ratio = 0;
  std::vector<science::Verification> verify;
  long calibration_tokens = 0;
  double calibration_seconds = 0;
  struct Phase {
    std::string phase;
    double seconds = 0;
    long tokens = 0;
  };
  std::vector<Phase> phases;
};

absl::StatusOr<SidecarView> ParseView(std::string_view json);

// Points, law, knees, limit and what binds it, without the load test.
Report ReportOf(const SidecarView& view, const api::InferenceDeployment& deployment);

// "TimePerOutputToken" → "the target for time per output token".
std::string BoundByText(const std::string& bound_by);

}  // namespace patella::cli
