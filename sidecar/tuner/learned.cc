#include "sidecar/tuner/learned.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "sidecar/tuner/options.h"

namespace patella::sidecar {
namespace {

constexpr int kMostRequests = 100'000;
constexpr size_t kMostPoints = 1000;

bool Positive(double value) { return std::isfinite(value) && value > 0; }

int RankOf(const std::string& confidence) { return confidence == "High" ? 2 : confidence == "Medium" ? 1 : 0; }

}  // namespace

std::string KeyOf(const TunerOptions& options) {
  std::string key =
      absl::StrFormat("%d in, %d out, ceiling %d", options.input_tokens, options.output_tokens, options.ceiling);
  for (const science::Target& t : options.targets)
    absl::StrAppendFormat(&key, ", %s %.6g %.6g", std::string(NameOf(t.metric)), t.quantile, t.target_ms);
  if (options.targets.empty())
    absl::StrAppendFormat(&key, ", %s %.6g", std::string(NameOf(options.knee_definition)), options.knee_utilization);
  return key;
}

bool HasCurve(const Learned& learned) {
  const auto& steps = learned.step_model.points;
  if (steps.empty() || steps.size() > kMostPoints || learned.points.size() > kMostPoints) return false;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (!Positive(steps[i].streams) || !Positive(steps[i].ms)) return false;
    if (i > 0 && (steps[i].streams <= steps[i - 1].streams || steps[i].ms < steps[i - 1].ms)) return false;
  }
  for (const double value : {learned.step_model.prompt_ms_per_token, learned.a_ms, learned.b_ms}) {
    if (!std::isfinite(value) || value < 0) return false;
  }
  return Positive(learned.level) && Positive(learned.payload.input_tokens) && Positive(learned.payload.output_tokens) &&
         std::all_of(learned.spreads.begin(), learned.spreads.end(), [](const auto& s) { return Positive(s.ratio); });
}

bool Usable(const Learned& learned) {
  return learned.limit >= 1 && learned.limit <= kMostRequests && HasCurve(learned);
}

const Learned* Choose(const std::vector<Learned>& candidates, const std::string& key) {
  std::vector<const Learned*> usable;
  int surest = 0;
  for (const Learned& c : candidates) {
    if (c.key != key || !Usable(c)) continue;
    usable.push_back(&c);
    surest = std::max(surest, RankOf(c.confidence));
  }
  std::erase_if(usable, [surest](const Learned* c) { return RankOf(c->confidence) < surest; });
  if (usable.empty()) return nullptr;
  std::stable_sort(usable.begin(), usable.end(),
                   [](const Learned* a, const Learned* b) { return a->limit < b->limit; });
  return usable[(usable.size() - 1) / 2];
}

}  // namespace patella::sidecar
