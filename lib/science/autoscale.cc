#include "lib/science/autoscale.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace patella::science {
namespace {

constexpr double kMostRejected = 3;  // rejected per admitted that is believed; beyond it are the same clients again
constexpr int kMostDesired = 1000;

}  // namespace

double ErlangB(double offered, int servers) {
  if (offered <= 0) return servers > 0 ? 0 : 1;
  double blocking = 1;
  for (int n = 1; n <= servers; ++n) blocking = offered * blocking / (n + offered * blocking);
  return blocking;
}

int ReplicasFor(double offered, int limit, double blocking, int most) {
  if (limit < 1) return 1;
  int n = std::clamp(static_cast<int>(offered / limit), 1, std::max(1, most));
  while (n < most && ErlangB(offered / n, limit) > blocking) ++n;
  return n;
}

ScaleDecision Autoscaler::OnSample(const LoadSample& sample, double now_s) {
  ScaleDecision decision;
  if (sample.limit < 1) return decision;
  const double again =
      sample.rejected_per_second <= 0
          ? 0
          : std::min(kMostRejected, sample.rejected_per_second / std::max(1e-9, sample.admitted_per_second));
  const double offered = sample.in_flight * (1 + again);
  const double share = sampled_s_ < 0 ? 1 : 1 - std::exp(-(now_s - sampled_s_) / config_.memory_s);
  offered_ += share * (offered - offered_);
  if (sampled_s_ < 0) began_s_ = now_s;
  sampled_s_ = now_s;
  decision.offered = offered_;
  decision.desired = ReplicasFor(offered_, sample.limit, config_.blocking, kMostDesired);

  while (!window_.empty() && window_.front().at_s < now_s - config_.stabilization_s) window_.pop_front();
  while (!window_.empty() && window_.back().desired <= decision.desired) window_.pop_back();
  window_.push_back({now_s, decision.desired});  // descending: the front is the window's highest

  const int bounded = std::clamp(decision.desired, config_.min_replicas, config_.max_replicas);
  int wanted = sample.replicas;
  if (bounded > sample.replicas) {
    if (now_s < raised_s_ + config_.pause_s) return decision;
    wanted = std::min(bounded, std::max(2 * sample.replicas, config_.min_replicas));
    raised_s_ = now_s;
  } else {
    wanted =
        std::clamp(std::max(window_.front().desired, decision.desired), config_.min_replicas, config_.max_replicas);
    wanted = std::min(wanted, sample.replicas);
    const bool over = sample.replicas > config_.max_replicas;
    if (!over && now_s < began_s_ + config_.stabilization_s) return decision;  // the window is not full yet
  }
  if (wanted == sample.replicas) return decision;
  decision.replicas = wanted;
  decision.evidence = absl::StrFormat(
      "%.1f requests offered at once, limit %d: with %d replica%s %.1f %% would be turned away, with %d %.1f %%",
      offered_, sample.limit, sample.replicas, sample.replicas == 1 ? "" : "s",
      100 * ErlangB(offered_ / std::max(1, sample.replicas), sample.limit), wanted,
      100 * ErlangB(offered_ / std::max(1, wanted), sample.limit));
  return decision;
}

}  // namespace patella::science
