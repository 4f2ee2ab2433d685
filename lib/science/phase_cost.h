// What a measurement spent, per phase: seconds, prompt tokens and output tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace patella::science {

struct PhaseCost {
  std::string phase;  // as in ProbeProgress
  double seconds = 0;
  int64_t prompt_tokens = 0, output_tokens = 0;

  int64_t tokens() const { return prompt_tokens + output_tokens; }
};

// The entry of this phase, appended if there is none yet.
inline PhaseCost& CostOf(const std::string& phase, std::vector<PhaseCost>& costs) {
  const auto found =
      std::find_if(costs.begin(), costs.end(), [&](const PhaseCost& cost) { return cost.phase == phase; });
  if (found != costs.end()) return *found;
  costs.push_back({.phase = phase});
  return costs.back();
}

}  // namespace patella::science
