#include "operator/reconcile/handover.h"

#include <algorithm>
#include <limits>

namespace patella::reconcile {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int32_t>::max();

int Held(const RevisionLoad& load) { return std::max(load.wanted, load.present); }

int SurgeOf(int replicas) { return std::max(1, (replicas + 3) / 4); }

int64_t Fitting(std::optional<int64_t> accelerators, int64_t used, int each) {
  if (!accelerators || each == 0) return kUnlimited;
  return std::max<int64_t>(0, (*accelerators - used) / each);
}

struct Sums {
  int pods = 0;              // of the others
  int64_t accelerators = 0;  // of the others
  int ready = 0;             // of the others
  bool shrinking = false;    // one has pods that it was told to give up
  bool settled = true;
};

Sums SumOf(const std::vector<RevisionLoad>& others) {
  Sums sums;
  for (const RevisionLoad& load : others) {
    sums.pods += Held(load);
    sums.accelerators += static_cast<int64_t>(Held(load)) * load.accelerators;
    sums.ready += load.ready;
    sums.shrinking |= load.present > load.wanted;
    sums.settled &= load.settled;
  }
  return sums;
}

// The others keep so many that `floor` pods are ready with the new revision's own; pods that are not ready go first.
std::vector<int> Keep(const HandOverInputs& inputs, int floor) {
  std::vector<int> replicas;
  int need = std::max(0, floor - inputs.wanted.ready);
  for (const RevisionLoad& load : inputs.others) {
    const int keep = load.ready > 0 ? std::min(load.wanted, need) : 0;
    replicas.push_back(keep);
    need = std::max(0, need - std::min(keep, load.ready));
  }
  return replicas;
}

bool Shrinks(const HandOverInputs& inputs, const std::vector<int>& others) {
  for (size_t i = 0; i < others.size(); ++i) {
    if (others[i] < inputs.others[i].wanted) return true;
  }
  return false;
}

// Pods of the others that must go before one of the new revision fits.
int PodsInTheWay(const HandOverInputs& inputs, const Sums& sums, int64_t bound) {
  const int64_t used = sums.accelerators + static_cast<int64_t>(Held(inputs.wanted)) * inputs.wanted.accelerators;
  const int64_t missing = inputs.wanted.accelerators - (bound - used);
  for (const RevisionLoad& load : inputs.others) {
    if (load.wanted > 0 && load.accelerators > 0)
      return static_cast<int>((missing + load.accelerators - 1) / load.accelerators);
  }
  return std::numeric_limits<int>::max();
}

}  // namespace

HandOver PlanHandOver(const HandOverInputs& inputs) {
  const RevisionLoad& mine = inputs.wanted;
  const Sums sums = SumOf(inputs.others);
  const int total_ready = mine.ready + sums.ready;
  const int most = static_cast<int>(std::min<int64_t>(inputs.replicas, Fitting(inputs.hard, 0, mine.accelerators)));

  const int64_t hard_room = Fitting(inputs.hard, sums.accelerators, mine.accelerators);
  const int64_t soft_room = Fitting(inputs.soft, sums.accelerators, mine.accelerators);
  const int64_t pod_room =
      inputs.others.empty() ? kUnlimited : std::max(0, inputs.replicas + SurgeOf(inputs.replicas) - sums.pods);
  // Without others the nodes' sum is no bound: a pod that waits is what makes an autoscaler buy a node.
  const int64_t room =
      !sums.settled ? 0 : std::min({hard_room, pod_room, inputs.others.empty() ? kUnlimited : soft_room});

  HandOver out;
  // What it has it keeps: if bounds have moved, ready pods of the wanted revision are worth more than the others'.
  const int kept = mine.ready > 0 ? std::min(mine.wanted, most)
                                  : static_cast<int>(std::min<int64_t>({mine.wanted, most, hard_room}));
  out.wanted = std::max(kept, static_cast<int>(std::min<int64_t>(most, room)));
  out.others = Keep(inputs, std::min(most, total_ready));
  if (!mine.settled || !sums.settled) {  // who is ready is not certain: nobody gives up pods for that
    for (size_t i = 0; i < out.others.size(); ++i) out.others[i] = std::max(out.others[i], inputs.others[i].wanted);
  }

  const bool still = sums.settled && mine.wanted == mine.ready && mine.present <= mine.wanted && !sums.shrinking;
  if (out.wanted < most && out.wanted <= mine.wanted && still && !Shrinks(inputs, out.others)) {
    const bool hard_bound = hard_room <= mine.wanted;
    const int in_the_way = PodsInTheWay(inputs, sums, hard_bound ? inputs.hard.value_or(0) : inputs.soft.value_or(0));
    if (total_ready == 0 || total_ready > in_the_way) {
      out.others = Keep(inputs, std::max(0, total_ready - in_the_way));
    } else if (hard_bound) {
      out.blocked = true;
    } else {
      out.wanted = mine.wanted + 1;  // it waits for a node
    }
  }
  // A bound that was lowered: the others give way.
  if (inputs.hard) {
    int64_t left = *inputs.hard - static_cast<int64_t>(out.wanted) * mine.accelerators;
    for (size_t i = 0; i < out.others.size(); ++i) {
      const int each = inputs.others[i].accelerators;
      if (each > 0)
        out.others[i] = static_cast<int>(std::min<int64_t>(out.others[i], std::max<int64_t>(0, left / each)));
      left -= static_cast<int64_t>(out.others[i]) * each;
    }
  }
  const int64_t after =
      sums.accelerators + static_cast<int64_t>(std::max(out.wanted, mine.present)) * mine.accelerators;
  out.may_surge = !inputs.hard || after + mine.accelerators <= *inputs.hard;
  return out;
}

}  // namespace patella::reconcile
