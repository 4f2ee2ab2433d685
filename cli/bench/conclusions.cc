#include "cli/bench/conclusions.h"

#include <algorithm>
#include <cmath>

#include "lib/base/text.h"
#include "lib/science/curve.h"
#include "lib/science/knee.h"

namespace patella::cli {
namespace {

science::Law LawOf(const ReportLaw& law) {
  return {.a_ms = law.a_ms, .b_ms = law.b_ms, .cap = law.cap.value_or(science::kInfinity)};
}

std::string KneeMeaning(science::KneeDefinition definition, const science::KneeInputs& inputs) {
  using enum science::KneeDefinition;
  switch (definition) {
    case kLatencyTarget:
      return StrCat("the mean reaches the target's ", Number(inputs.target_ms),
                    " ms per token; a limit that keeps its quantile lies lower");
    case kHalfLatency:
      return "latency is twice its mean over all lower throughputs";
    case kKleinrock:
      return "throughput over latency is greatest: latency has doubled, half of the top throughput";
    case kUtilization:
      return StrCat(Number(100 * inputs.utilization), " % of the throughput that no concurrency exceeds");
    case kDoublingGain25:
      return "twice the requests bring less than a quarter more throughput";
    case kKvCap:
      return "so many requests of this size fit the server's KV cache";
    case kTimeout:
      return StrCat("so many still end within ", Number(inputs.timeout_s),
                    " s, what platforms commonly give a request");
  }
  return "";
}

}  // namespace

ReportPoint PointOf(const loadgen::LoadSummary& summary, std::string phase) {
  ReportPoint point;
  point.concurrency = summary.concurrency;
  point.tokens_per_second = summary.tokens_per_second;
  point.tokens_per_second_ci95 = summary.tokens_per_second_ci95;
  point.mean_ms_per_token = summary.mean_ms_per_token;
  if (summary.completed > 0) {
    point.p90_tpot_ms = summary.tpot_ms.p90;
    point.p90_ttft_ms = summary.ttft_ms.p90;
    point.p90_e2e_ms = summary.e2e_ms.p90;
    point.little_ratio = summary.little_ratio;
  }
  point.requests = summary.completed;
  point.refused = summary.refused;
  point.phase = std::move(phase);
  return point;
}

ReportPoint RampPoint(const science::CurvePoint& measured) {
  ReportPoint point{.concurrency = measured.concurrency,
                    .tokens_per_second = measured.tokens_per_second,
                    .mean_ms_per_token = measured.mean_ms_per_token};
  point.requests = measured.samples;
  point.phase = "ramp";
  return point;
}

ReportPoint VerifyPoint(const science::Verification& v, bool per_token) {
  ReportPoint point = RampPoint({v.concurrency, v.mean_ms_per_token, v.tokens_per_second, v.requests});
  if (per_token) point.p90_tpot_ms = v.quantile_ms;
  point.phase = v.passed ? "verify: holds" : "verify: misses";
  return point;
}

std::optional<ReportLaw> FitReportLaw(const std::vector<ReportPoint>& measured) {
  std::vector<science::CurvePoint> points;
  for (const ReportPoint& p : measured) {
    if (p.mean_ms_per_token > 0 && p.tokens_per_second > 0)
      points.push_back({p.concurrency, p.mean_ms_per_token, p.tokens_per_second, p.requests});
  }
  // Where a client was slow the throughput is what counts: no check of Little's law here, the table shows its ratio.
  const absl::StatusOr<science::Fit> fit =
      science::FitLaw(points, {.little_tolerance = science::kInfinity, .find_cap = false});
  if (!fit.ok() || !(fit->law.b_ms > 0)) return std::nullopt;
  return ReportLaw{.a_ms = fit->law.a_ms, .b_ms = fit->law.b_ms, .error_ratio = fit->error_ratio};
}

std::optional<ReportTarget> ReportTargetOf(const std::vector<science::Target>& targets) {
  if (targets.empty()) return std::nullopt;
  const science::Target& first = targets.front();
  return ReportTarget{loadgen::ToText(first), first.target_ms,
                      first.metric == science::LatencyMetric::kTimePerOutputToken};
}

science::KneeInputs KneeInputsOf(const std::vector<science::Target>& targets, int input_tokens, int output_tokens,
                                 int kv_tokens) {
  science::KneeInputs inputs{.target_ms = science::TightestMsPerToken(targets, output_tokens),
                             .timeout_s = science::kPlatformTimeout_s,
                             .output_tokens = output_tokens};
  if (kv_tokens > 0) inputs.kv_cap = static_cast<double>(kv_tokens) / (input_tokens + output_tokens);
  return inputs;
}

std::vector<ReportKnee> KneesOf(const ReportLaw& law, const science::KneeInputs& inputs, std::string_view chosen) {
  std::vector<ReportKnee> knees;
  const science::Law curve = LawOf(law);
  if (!science::BatchingGains(curve)) {
    knees.push_back({"No knee", NAN,
                     "one request alone already uses the machine (a/b < 1): more at once only wait for each other"});
  }
  for (const science::KneeEstimate& knee : science::AllKnees(curve, inputs)) {
    const std::string name(science::NameOf(knee.definition));
    const char* fits = knee.at_cap && knee.definition != science::KneeDefinition::kKvCap
                           ? "; so many fit the KV cache, it asks for more"
                           : "";
    knees.push_back({name, knee.concurrency, KneeMeaning(knee.definition, inputs) + fits, name == chosen});
  }
  return knees;
}

std::string_view KneeBehind(std::string_view bound_by, science::KneeDefinition asked) {
  using science::BoundBy, science::KneeDefinition;
  if (bound_by == NameOf(BoundBy::kTimePerOutputToken) || bound_by == NameOf(BoundBy::kEndToEnd))
    return NameOf(KneeDefinition::kLatencyTarget);
  if (bound_by == NameOf(BoundBy::kKvCapacity)) return NameOf(KneeDefinition::kKvCap);
  if (bound_by == NameOf(BoundBy::kTimeout)) return NameOf(KneeDefinition::kTimeout);
  return bound_by == NameOf(BoundBy::kKnee) ? NameOf(asked) : "";
}

std::string MeaningOf(const Report& report) {
  if (report.points.empty()) return "Nothing was measured.";
  const auto best = std::max_element(
      report.points.begin(), report.points.end(),
      [](const ReportPoint& a, const ReportPoint& b) { return a.tokens_per_second < b.tokens_per_second; });
  if (!report.law) {
    return StrCat("At ", best->concurrency, " at once: ", Number(best->tokens_per_second), " tokens/s, ",
                  Number(best->mean_ms_per_token),
                  " ms per token; measure more concurrencies (--concurrency 1,2,4,8) to see where the knee is.");
  }
  const science::Law law = LawOf(*report.law);
  const double top = science::PeakTokensPerSecond(law);
  const std::string most = StrCat("No number of requests at once brings more than ", Number(top), " tokens/s here; ");
  const auto knee = science::Knee(science::KneeDefinition::kHalfLatency, law);
  if (!knee)
    return most +
           "one alone nearly does, so batching gains nothing: keep the limit at 1 or 2, or at what your latency target "
           "allows.";
  const double half = knee->concurrency;
  if (half > best->concurrency * 1.5) {
    return StrCat(most, "the knee (half-latency) lies at about ", Number(half),
                  ", beyond what was measured: try --concurrency up to ", static_cast<int>(std::ceil(half)), ".");
  }
  return StrCat(most, "at the knee (half-latency, ", Number(half), " at once) it is ", Number(knee->tokens_per_second),
                " at ", Number(knee->ms_per_token), " ms per token; beyond, waiting grows faster than work.");
}

}  // namespace patella::cli
