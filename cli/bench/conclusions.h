// From measured points to what a person wants to know: the law, the knees by every definition, one sentence. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/report/report.h"
#include "lib/loadgen/summary.h"
#include "lib/science/calibration.h"
#include "lib/science/knee.h"

namespace patella::cli {

ReportPoint PointOf(const loadgen::LoadSummary& summary, std::string phase);

// Of a calibration: a level of the ramp, and a verification. `per_token`: its quantile is of the time per output token.
ReportPoint RampPoint(const science::CurvePoint& measured);
ReportPoint VerifyPoint(const science::Verification& verification, bool per_token);

// science::FitLaw over the points. None with fewer than two different concurrencies or without a slope.
std::optional<ReportLaw> FitReportLaw(const std::vector<ReportPoint>& points);

// The first one, which the charts show. None without targets.
std::optional<ReportTarget> ReportTargetOf(const std::vector<science::Target>& targets);

// What the knees of requests of that size depend on, besides the law. kv_tokens: of the server's KV cache; 0: unknown.
science::KneeInputs KneeInputsOf(const std::vector<science::Target>& targets, int input_tokens, int output_tokens,
                                 int kv_tokens);

// The knee by every definition that applies, under the names of an InferenceDeployment and of patella_knee_concurrency. `chosen`: the
// definition that the limit comes from; "" for none.
std::vector<ReportKnee> KneesOf(const ReportLaw& law, const science::KneeInputs& inputs, std::string_view chosen = "");

// The definition behind what binds a limit, which is as science::BoundBy names it; "" where it is none: a ceiling, or a target that no
// law tells of. `asked`: where the knee stands in for a target.
std::string_view KneeBehind(std::string_view bound_by, science::KneeDefinition asked);

// "Throughput still grows at 8 at once …": what the curve means without a target.
std::string MeaningOf(const Report& report);

}  // namespace patella::cli
