#include "sidecar/app/decision_log.h"

#include <algorithm>

namespace patella::sidecar {

std::span<const Decision> DecisionLog::Take(const std::vector<Decision>& decisions, double now_s, double wall_now_s) {
  size_t taken = 0;
  for (const Decision& decision : decisions) {
    if (decision.time_s <= newest_s_) continue;
    all_.push_back(decision);
    all_.back().time_s += wall_now_s - now_s;
    ++taken;
  }
  if (!decisions.empty()) newest_s_ = decisions.back().time_s;
  if (all_.size() > decisions.size()) all_.erase(all_.begin(), all_.end() - static_cast<long>(decisions.size()));
  return std::span<const Decision>(all_).last(taken);
}

}  // namespace patella::sidecar
