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

constexpr int kVersion = 3;

std::string PathIn(const std::string& folder) { return absl::StrCat(folder, "/patella-limit.json"); }

}  // namespace

Learned ReadState(const std::string& folder, const TunerOptions& options) {
  std::ifstream file(PathIn(folder));
  std::stringstream text;
  text << file.rdbuf();
  const json state = json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  Learned learned;
  try {
    if (!state.is_object() || state.value("version", 0) != kVersion || state.value("key", "") != KeyOf(options))
      return {};
    learned.key = KeyOf(options);
    learned.limit = state.at("limit").get<int>();
    learned.bound_by = state.at("bound_by").get<std::string>();
    learned.confidence = state.at("confidence").get<std::string>();
    learned.calibrated_at_s = state.at("calibrated_at").get<int64_t>();
    learned.a_ms = state.at("a_ms").get<double>();
    learned.b_ms = state.at("b_ms").get<double>();
    if (state.at("cap").is_number()) learned.cap = state.at("cap").get<double>();
    for (const json& p : state.at("points")) {
      learned.points.push_back({p.at(0).get<int>(), p.at(1).get<double>(), p.at(2).get<double>(), p.at(3).get<int>()});
    }
    for (const json& p : state.at("step_ms"))
      learned.step_model.points.push_back({p.at(0).get<double>(), p.at(1).get<double>()});
    learned.step_model.prompt_ms_per_token = state.at("prompt_ms_per_token").get<double>();
  } catch (const json::exception&) {
    return {};
  }
  return Usable(learned) ? learned : Learned{};
}

absl::Status WriteState(const std::string& folder, const Learned& learned) {
  json points = json::array();
  for (const science::CurvePoint& p : learned.points)
    points.push_back({p.concurrency, p.mean_ms_per_token, p.tokens_per_second, p.samples});
  json steps = json::array();
  for (const science::StepModel::Point& p : learned.step_model.points) steps.push_back({p.streams, p.ms});
  const json state = {{"version", kVersion},
                      {"key", learned.key},
                      {"limit", learned.limit},
                      {"bound_by", learned.bound_by},
                      {"confidence", learned.confidence},
                      {"calibrated_at", learned.calibrated_at_s},
                      {"a_ms", learned.a_ms},
                      {"b_ms", learned.b_ms},
                      {"cap", std::isfinite(learned.cap) ? json(learned.cap) : json(nullptr)},
                      {"points", points},
                      {"step_ms", steps},
                      {"prompt_ms_per_token", learned.step_model.prompt_ms_per_token}};
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
