#include "sidecar/app/state_file.h"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace patella::sidecar {
namespace {

using nlohmann::json;

constexpr int kVersion = 2;

std::string PathIn(const std::string& folder) { return absl::StrCat(folder, "/patella-limit.json"); }

// Everything that, when changed, makes the learned limit worthless.
json KeyOf(const TunerOptions& options) {
  json targets = json::array();
  for (const TargetView& t : options.targets) targets.push_back({t.metric, t.quantile, t.target_ms});
  return {{"targets", targets},
          {"input", options.input_tokens},
          {"output", options.output_tokens},
          {"knee", options.knee_definition},
          {"utilization", options.knee_utilization},
          {"ceiling", options.ceiling}};
}

}  // namespace

Resumed ReadState(const std::string& folder, const TunerOptions& options) {
  std::ifstream file(PathIn(folder));
  std::stringstream text;
  text << file.rdbuf();
  const json state = json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  Resumed resumed;
  try {
    if (!state.is_object() || state.value("version", 0) != kVersion || state.value("key", json()) != KeyOf(options))
      return {};
    resumed.limit = state.at("limit").get<int>();
    resumed.bound_by = state.at("bound_by").get<std::string>();
    resumed.a_ms = state.at("a_ms").get<double>();
    resumed.b_ms = state.at("b_ms").get<double>();
    if (state.at("cap").is_number()) resumed.cap = state.at("cap").get<double>();
    for (const json& p : state.at("points")) {
      resumed.points.push_back({p.at(0).get<int>(), p.at(1).get<double>(), p.at(2).get<double>(), p.at(3).get<int>()});
    }
    for (const json& p : state.at("step_ms"))
      resumed.step_model.points.push_back({p.at(0).get<double>(), p.at(1).get<double>()});
    resumed.step_model.prompt_ms_per_token = state.at("prompt_ms_per_token").get<double>();
  } catch (const json::exception&) {
    return {};
  }
  return resumed.limit > 0 && !resumed.step_model.points.empty() ? resumed : Resumed{};
}

absl::Status WriteState(const std::string& folder, const TunerOptions& options, const TunerView& view) {
  json points = json::array();
  for (const PointView& p : view.points)
    points.push_back({p.concurrency, p.mean_ms_per_token, p.tokens_per_second, p.samples});
  json steps = json::array();
  for (const science::StepModel::Point& p : view.step_model.points) steps.push_back({p.streams, p.ms});
  const json state = {{"version", kVersion},
                      {"key", KeyOf(options)},
                      {"limit", view.limit},
                      {"bound_by", view.bound_by},
                      {"a_ms", view.a_ms},
                      {"b_ms", view.b_ms},
                      {"cap", std::isfinite(view.cap) ? json(view.cap) : json(nullptr)},
                      {"points", points},
                      {"step_ms", steps},
                      {"prompt_ms_per_token", view.step_model.prompt_ms_per_token}};
  const std::string path = PathIn(folder), fresh = path + ".new";
  {
    std::ofstream file(fresh, std::ios::trunc);
    file << state.dump(2) << "\n";
    if (!file.flush())
      return absl::UnavailableError(
          absl::StrCat("cannot write ", fresh, "; check that STATE_DIR exists and is writable"));
  }
  if (std::rename(fresh.c_str(), path.c_str()) != 0)
    return absl::UnavailableError(absl::StrCat("cannot replace ", path));
  return absl::OkStatus();
}

}  // namespace patella::sidecar
