// From measured points to what a person wants to know: the law, the knees by every definition, one sentence. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/report/report.h"
#include "lib/loadgen/summary.h"
#include "lib/science/calibration.h"

namespace patella::cli {

ReportPoint PointOf(const loadgen::LoadSummary& summary, std::string phase);

// Of a calibration: a level of the ramp, and a verification. `per_token`: its quantile is of the time per output token.
ReportPoint RampPoint(const science::CurvePoint& measured);
ReportPoint VerifyPoint(const science::Verification& verification, bool per_token);

// science::FitLaw over the points. None with fewer than two different concurrencies or without a slope.
std::optional<ReportLaw> FitReportLaw(const std::vector<ReportPoint>& points);

// Every definition that the law allows. `target_limit`: the answer for the latency targets, if known; `kv_requests`: how many
// requests of this size fit the KV cache, 0 if unknown.
std::vector<ReportKnee> KneesOf(const ReportLaw& law, std::optional<double> target_limit, int kv_requests);

// "Throughput still grows at 8 at once …": what the curve means without a target.
std::string MeaningOf(const Report& report);

}  // namespace patella::cli
