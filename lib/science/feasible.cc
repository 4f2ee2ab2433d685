#include "lib/science/feasible.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace patella::science {
namespace {

constexpr int kFarthest = 4096;       // requests at once: no replica is asked for more
constexpr int kAnyReplicas = 100000;  // beyond what a deployment may have
// Where a quantile was never seen: as servers of steady load show.
constexpr double kPriorRatio = 1.05, kPriorFirstTokenRatio = 1.5;
constexpr double kRounding = 1e-9;
constexpr int64_t kCent = 10'000, kTenCents = 100'000;

std::string Dollars(Money money) { return absl::StrCat("$", ToText(money, money.micro_dollars < kTenCents ? 6 : 2)); }

// Never less than it is, so that what is named can be met: in cents, small sums exactly.
Money UpToCents(Money money) {
  if (money.micro_dollars < kTenCents) return money;
  return {(money.micro_dollars + kCent - 1) / kCent * kCent};
}

Money Times(Money money, int n) { return {money.micro_dollars * n}; }

std::string Replicas(int n) { return absl::StrCat(n, n == 1 ? " replica" : " replicas"); }

class Case {
 public:
  Case(const ReplicaFigures& replica, ObjectiveSet objectives) : replica_(replica), o_(std::move(objectives)) {}

  double QuantileMs(const Target& target, int c) const {
    double ratio = target.metric == LatencyMetric::kTimeToFirstToken ? kPriorFirstTokenRatio : kPriorRatio;
    for (const LatencySpread& s : replica_.spreads) {
      if (s.metric == target.metric) ratio = s.ratio;
      if (s.metric == target.metric && std::abs(s.quantile - target.quantile) < kRounding) break;
    }
    return replica_.level * replica_.model.LatencyMs(target.metric, c, replica_.payload) * ratio;
  }

  double TokensPerSecond(int c) const { return replica_.model.TokensPerSecond(c, replica_.payload) / replica_.level; }

  // What bounds c other than targets.
  int Most() const {
    int most = kFarthest;
    for (const int bound : {o_.ceiling, replica_.most, o_.targets.empty() ? replica_.knee : 0}) {
      if (bound > 0) most = std::min(most, bound);
    }
    return most;
  }

  // K: latency grows with c, so the first miss ends it.
  int Limit() const {
    int c = 0;
    while (c < Most() && std::all_of(o_.targets.begin(), o_.targets.end(), [&](const Target& t) {
             return QuantileMs(t, c + 1) <= t.target_ms + kRounding;
           })) {
      ++c;
    }
    return c;
  }

  // Of those up to `limit`, the one with the most throughput: more at once may give less.
  int Best(int limit) const {
    int best = limit > 0 ? 1 : 0;
    for (int c = 2; c <= limit; ++c) {
      if (TokensPerSecond(c) > TokensPerSecond(best)) best = c;
    }
    return best;
  }

  int NeededReplicas(int c) const {
    const double wanted = std::ceil(o_.min_tokens_per_second / TokensPerSecond(c) - kRounding);
    return std::max({1, o_.min_replicas, static_cast<int>(std::min<double>(wanted, kAnyReplicas))});
  }

  int ByAccelerators() const {
    if (o_.max_accelerators <= 0 || o_.accelerators_per_replica <= 0) return kAnyReplicas;
    return o_.max_accelerators / o_.accelerators_per_replica;
  }
  int ByMoney() const {
    if (!o_.max_per_hour || !Priced()) return kAnyReplicas;
    return static_cast<int>(
        std::min<int64_t>(kAnyReplicas, o_.max_per_hour->micro_dollars / o_.replica_per_hour->micro_dollars));
  }
  int AllowedReplicas() const { return std::min({o_.max_replicas, ByAccelerators(), ByMoney()}); }

  Money PerMillion(int c) const { return PerMillionTokens(*o_.replica_per_hour, TokensPerSecond(c)); }
  bool Priced() const { return o_.replica_per_hour && o_.replica_per_hour->micro_dollars > 0; }
  bool PerMillionHolds(int c) const { return !o_.max_per_million || !Priced() || PerMillion(c) <= *o_.max_per_million; }

  // All but the targets.
  bool HoldsAt(int c) const { return c > 0 && NeededReplicas(c) <= AllowedReplicas() && PerMillionHolds(c); }
  bool Holds() const { return HoldsAt(Best(Limit())); }

  const ObjectiveSet& objectives() const { return o_; }

 private:
  const ReplicaFigures& replica_;
  const ObjectiveSet o_;
};

// The objectives with one let go.
template <typename LetGo>
Case Without(const ReplicaFigures& replica, ObjectiveSet objectives, LetGo let_go) {
  let_go(objectives);
  return Case(replica, std::move(objectives));
}

void RelaxTargets(const ReplicaFigures& replica, const ObjectiveSet& objectives, std::vector<Relaxation>& out) {
  for (size_t i = 0; i < objectives.targets.size(); ++i) {
    ObjectiveSet others = objectives;
    others.targets.erase(others.targets.begin() + static_cast<long>(i));
    // A knee stands in for targets; what is left of them without this one says nothing of it.
    ReplicaFigures figures = replica;
    figures.knee = 0;
    const Case relaxed(figures, others);
    for (int c = 1, limit = relaxed.Limit(); c <= limit; ++c) {
      if (!relaxed.HoldsAt(c)) continue;
      const Target& target = objectives.targets[i];
      const double nearest = NearestTargetMs(relaxed.QuantileMs(target, c));
      if (nearest > target.target_ms)
        out.push_back({TextOf(target), absl::StrFormat("%.0f ms", nearest), relaxed.NeededReplicas(c)});
      break;
    }
  }
}

void RelaxThroughput(const ReplicaFigures& replica, const ObjectiveSet& objectives, std::vector<Relaxation>& out) {
  if (objectives.min_tokens_per_second <= 0) return;
  const Case relaxed = Without(replica, objectives, [](ObjectiveSet& o) { o.min_tokens_per_second = 0; });
  const int c = relaxed.Best(relaxed.Limit());
  if (!relaxed.HoldsAt(c)) return;
  const int replicas = relaxed.AllowedReplicas();
  const double nearest = std::floor(replicas * relaxed.TokensPerSecond(c) + kRounding);
  if (nearest < 1 || nearest >= objectives.min_tokens_per_second) return;
  out.push_back({absl::StrFormat("minTokensPerSecond %.0f", objectives.min_tokens_per_second),
                 absl::StrFormat("%.0f", nearest), replicas});
}

void RelaxCosts(const ReplicaFigures& replica, const ObjectiveSet& objectives, std::vector<Relaxation>& out) {
  if (objectives.max_per_hour) {
    const Case relaxed = Without(replica, objectives, [](ObjectiveSet& o) { o.max_per_hour.reset(); });
    const int c = relaxed.Best(relaxed.Limit());
    if (relaxed.HoldsAt(c) && relaxed.Priced()) {
      const int replicas = relaxed.NeededReplicas(c);
      const Money nearest = UpToCents(Times(*objectives.replica_per_hour, replicas));
      if (nearest > *objectives.max_per_hour)
        out.push_back({absl::StrCat("maxPerHour ", Dollars(*objectives.max_per_hour)), Dollars(nearest), replicas});
    }
  }
  if (objectives.max_per_million) {
    const Case relaxed = Without(replica, objectives, [](ObjectiveSet& o) { o.max_per_million.reset(); });
    const int c = relaxed.Best(relaxed.Limit());
    if (relaxed.HoldsAt(c) && relaxed.Priced()) {
      const Money nearest = UpToCents(relaxed.PerMillion(c));
      if (nearest > *objectives.max_per_million)
        out.push_back({absl::StrCat("maxPerMillionTokens ", Dollars(*objectives.max_per_million)), Dollars(nearest),
                       relaxed.NeededReplicas(c)});
    }
  }
}

// Bounds that the user has set besides the objectives.
void RelaxBounds(const ReplicaFigures& replica, const ObjectiveSet& objectives, std::vector<Relaxation>& out) {
  const Case more = Without(replica, objectives, [](ObjectiveSet& o) { o.max_replicas = kAnyReplicas; });
  if (const int c = more.Best(more.Limit()); more.HoldsAt(c) && more.NeededReplicas(c) > objectives.max_replicas) {
    out.push_back({absl::StrCat(objectives.replicas_name, " ", objectives.max_replicas),
                   absl::StrCat(more.NeededReplicas(c)), more.NeededReplicas(c)});
  }
  if (objectives.max_accelerators > 0) {
    const Case bought = Without(replica, objectives, [](ObjectiveSet& o) { o.max_accelerators = 0; });
    const int c = bought.Best(bought.Limit());
    const int accelerators = c > 0 ? bought.NeededReplicas(c) * objectives.accelerators_per_replica : 0;
    if (bought.HoldsAt(c) && accelerators > objectives.max_accelerators) {
      out.push_back({absl::StrCat("maxAccelerators ", objectives.max_accelerators), absl::StrCat(accelerators),
                     bought.NeededReplicas(c)});
    }
  }
  if (objectives.ceiling > 0) {
    const Case higher = Without(replica, objectives, [](ObjectiveSet& o) { o.ceiling = 0; });
    for (int c = objectives.ceiling + 1, limit = higher.Limit(); c <= limit; ++c) {
      if (!higher.HoldsAt(c)) continue;
      out.push_back(
          {absl::StrCat("maxConcurrentRequests ", objectives.ceiling), absl::StrCat(c), higher.NeededReplicas(c)});
      break;
    }
  }
}

// "21 requests at once each, as TimePerOutputToken p90 ≤ 50 ms allows"
std::string LimitText(const Case& all, int limit) {
  std::string why;
  double closest = 0;
  for (const Target& t : all.objectives().targets) {
    const double share = all.QuantileMs(t, limit + 1) / t.target_ms;
    if (share > std::max(1.0, closest)) closest = share, why = absl::StrCat(TextOf(t), " allows");
  }
  if (why.empty() && limit == all.objectives().ceiling) why = absl::StrCat("maxConcurrentRequests ", limit, " allows");
  if (why.empty()) why = all.objectives().targets.empty() ? "the knee says" : "engine and KV cache bear";
  return absl::StrFormat("%d request%s at once each, as %s", limit, limit == 1 ? "" : "s", why);
}

// Which objective is missed, and by how much.
std::string Missed(const Case& all, Feasibility* out) {
  const ObjectiveSet& o = all.objectives();
  if (out->limit == 0) {
    out->shortfall = Shortfall::kLatency;
    const Target* worst = nullptr;
    for (const Target& t : o.targets) {
      if (worst == nullptr || all.QuantileMs(t, 1) / t.target_ms > all.QuantileMs(*worst, 1) / worst->target_ms)
        worst = &t;
    }
    return absl::StrFormat("%s cannot be met: one request alone needs %.4g ms", TextOf(*worst),
                           all.QuantileMs(*worst, 1));
  }
  const int c = all.Best(out->limit);
  const int needed = all.NeededReplicas(c), bound = std::min(o.max_replicas, all.ByAccelerators());
  const std::string at = LimitText(all, out->limit);
  if (needed > bound) {
    out->shortfall = Shortfall::kThroughput;
    if (o.min_tokens_per_second <= bound * all.TokensPerSecond(c))
      return absl::StrFormat("minReplicas %d cannot be had: %d is the most there may be", needed, bound);
    return absl::StrFormat("minTokensPerSecond %.0f cannot be met: %s, the most there may be, reach %.0f with %s",
                           o.min_tokens_per_second, Replicas(bound), bound * all.TokensPerSecond(c), at);
  }
  out->shortfall = Shortfall::kCost;
  if (needed > all.ByMoney()) {
    const std::string cost = Dollars(Times(*o.replica_per_hour, needed));
    if (needed <= std::max(1, o.min_replicas))
      return absl::StrFormat("maxPerHour %s cannot be met: %s, the fewest there may be, cost %s an hour",
                             Dollars(*o.max_per_hour), Replicas(needed), cost);
    return absl::StrFormat(
        "maxPerHour %s cannot be met: minTokensPerSecond %.0f takes %s with %s; they cost %s an hour",
        Dollars(*o.max_per_hour), o.min_tokens_per_second, Replicas(needed), at, cost);
  }
  return absl::StrFormat("maxPerMillionTokens %s cannot be met: with %s, %.0f tokens/s cost %s a million",
                         Dollars(*o.max_per_million), at, all.TokensPerSecond(c), Dollars(all.PerMillion(c)));
}

std::string InWords(const std::vector<Relaxation>& relaxations) {
  if (relaxations.empty()) return "; no single objective moved alone would do";
  std::string text = relaxations.size() == 1 ? "; the nearest that can be met: " : "; any one of these would do: ";
  for (size_t i = 0; i < relaxations.size(); ++i) {
    absl::StrAppend(&text, i ? ", " : "", relaxations[i].nearest, " instead of ", relaxations[i].objective);
  }
  return text;
}

ObjectiveSet Loosened(ObjectiveSet o, double slack) {
  for (Target& t : o.targets) t.target_ms *= 1 + slack;
  o.min_tokens_per_second /= 1 + slack;
  for (std::optional<Money>* money : {&o.max_per_hour, &o.max_per_million}) {
    if (*money) (*money)->micro_dollars = std::llround(static_cast<double>((*money)->micro_dollars) * (1 + slack));
  }
  return o;
}

}  // namespace

Feasibility JudgeObjectives(const ReplicaFigures& replica, const ObjectiveSet& objectives, double slack) {
  Feasibility out;
  if (replica.model.points.empty()) return out;
  const Case all(replica, objectives);
  out.limit = all.Limit();
  if (const int c = all.Best(out.limit); c > 0) {
    out.tokens_per_second = all.TokensPerSecond(c);
    out.replicas = all.NeededReplicas(c);
  }
  if (all.Holds() || Case(replica, Loosened(objectives, slack)).Holds()) return out;
  RelaxTargets(replica, objectives, out.relaxations);
  RelaxThroughput(replica, objectives, out.relaxations);
  RelaxCosts(replica, objectives, out.relaxations);
  RelaxBounds(replica, objectives, out.relaxations);
  out.message = Missed(all, &out);
  out.message += InWords(out.relaxations);
  return out;
}

}  // namespace patella::science
