#include "cli/up/view.h"

#include <nlohmann/json.hpp>

#include "cli/bench/conclusions.h"
#include "cli/bench/options.h"
#include "lib/api/to_science.h"
#include "lib/base/text.h"

namespace patella::cli {
namespace {

using nlohmann::json;

template <typename T>
T Get(const json& object, const char* name, T fallback) {
  const auto it = object.find(name);
  if (it == object.end() || it->is_null()) return fallback;
  if constexpr (std::is_same_v<T, std::string>) {
    return it->is_string() ? it->get<T>() : fallback;
  } else if constexpr (std::is_same_v<T, bool>) {
    return it->is_boolean() ? it->get<T>() : fallback;
  } else {
    return it->is_number() ? static_cast<T>(it->get<double>()) : fallback;
  }
}

json Part(const json& object, const char* name, bool list) {
  const auto it = object.find(name);
  if (it != object.end() && (list ? it->is_array() : it->is_object())) return *it;
  return list ? json::array() : json::object();
}

std::vector<json> Objects(const json& object, const char* name) {
  std::vector<json> out;
  for (const json& item : Part(object, name, true)) {
    if (item.is_object()) out.push_back(item);
  }
  return out;
}

void ParseCurve(const json& root, SidecarView* view) {
  const json curve = Part(root, "curve", false);
  for (const json& p : Objects(curve, "points")) {
    view->points.push_back({Get(p, "concurrency", 0), Get(p, "mean_ms_per_token", 0.0),
                            Get(p, "tokens_per_second", 0.0), Get(p, "samples", 0)});
  }
  const json law = Part(curve, "law", false);
  view->a_ms = Get(law, "a_ms", 0.0);
  view->b_ms = Get(law, "b_ms", 0.0);
  if (const double cap = Get(law, "cap", 0.0); cap > 0) view->cap = cap;
  view->fit_error_ratio = Get(curve, "fit_error_ratio", 0.0);
}

std::string Spaced(std::string_view camel) {
  std::string out;
  for (const char c : camel) {
    if (c >= 'A' && c <= 'Z' && !out.empty()) out.push_back(' ');
    out.push_back(c);
  }
  return ToLower(out);
}

}  // namespace

absl::StatusOr<SidecarView> ParseView(std::string_view text) {
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object()) return absl::InternalError("/status.json is not a JSON object");
  SidecarView view;
  view.state = Get(root, "state", std::string());
  view.message = Get(root, "message", std::string());
  view.error = Get(root, "error", std::string());
  const json progress = Part(root, "progress", false);
  view.phase = Get(progress, "phase", std::string());
  view.concurrency = Get(progress, "concurrency", 0);
  view.gap_ms = Get(progress, "gap_ms", 0.0);
  view.fraction = Get(progress, "fraction", 0.0);
  view.limit = Get(root, "limit", 0);
  view.bound_by = Get(root, "bound_by", std::string());
  view.confidence = Get(root, "confidence", std::string());
  ParseCurve(root, &view);
  for (const json& v : Objects(root, "verify")) {
    view.verify.push_back({Get(v, "concurrency", 0), Get(v, "quantile_ms", 0.0), Get(v, "mean_ms_per_token", 0.0),
                           Get(v, "tokens_per_second", 0.0), Get(v, "passed", false), Get(v, "requests", 0)});
  }
  const json calibration = Part(root, "calibration", false);
  view.calibration_tokens = Get(calibration, "tokens", 0L);
  view.calibration_seconds = Get(calibration, "seconds", 0.0);
  for (const json& p : Objects(calibration, "phases")) {
    view.phases.push_back({Get(p, "phase", std::string()), Get(p, "seconds", 0.0), Get(p, "tokens", 0L)});
  }
  return view;
}

std::string BoundByText(const std::string& bound_by) {
  if (bound_by == "KvCapacity") return "the KV cache's capacity";
  if (bound_by == "Timeout") return "the time-out";
  if (bound_by == "Knee") return "the knee (no target binds)";
  if (bound_by == "Ceiling") return "spec.maxConcurrentRequests";
  return StrCat("the target for ", Spaced(bound_by));
}

Report ReportOf(const SidecarView& view, const api::InferenceDeployment& deployment) {
  const api::InferenceDeploymentSpec& spec = deployment.spec;
  Report report;
  report.title = StrCat(spec.model.name, " on ", ThisMachine());
  report.subtitle = StrCat(spec.workload.input_tokens, " tokens in, ", spec.workload.output_tokens,
                           " out; one ramp of growing concurrency");
  for (const science::CurvePoint& p : view.points) report.points.push_back(RampPoint(p));
  const std::vector<science::Target> targets = api::ToTargets(spec.objectives);
  report.target = ReportTargetOf(targets);
  const bool per_token = report.target && report.target->per_token;
  for (const science::Verification& v : view.verify) report.points.push_back(VerifyPoint(v, per_token));
  if (view.b_ms > 0) {
    report.law = ReportLaw{view.a_ms, view.b_ms, view.cap, view.fit_error_ratio};
    // The law's own cap is the KV cache's.
    science::KneeInputs inputs = KneeInputsOf(targets, spec.workload.input_tokens, spec.workload.output_tokens, 0);
    inputs.utilization = api::ToKneeUtilization(spec.objectives.knee);
    const auto asked = api::ToKneeDefinition(spec.objectives.knee.definition);
    report.knees = KneesOf(*report.law, inputs, KneeBehind(view.bound_by, asked));
  }
  report.limit = view.limit;
  report.bound_by = BoundByText(view.bound_by);
  report.verdict =
      StrCat("limit ", view.limit, ": bound by ", report.bound_by, ", confidence ", ToLower(view.confidence));
  report.tone = Tone::kGood;
  report.how = {{"calibration", StrCat(Number(view.calibration_seconds), " s, ", view.calibration_tokens, " tokens")}};
  for (const SidecarView::Phase& p : view.phases)
    report.how.push_back({StrCat("  ", p.phase), StrCat(Number(p.seconds), " s, ", p.tokens, " tokens")});
  return report;
}

}  // namespace patella::cli
