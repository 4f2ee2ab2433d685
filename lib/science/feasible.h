// Which objectives replicas of one kind cannot meet together, and how far each one alone would have to give way: from what was measured.
//
//   L(c) = level·model(c)·ratio            a target's latency at its quantile under c requests at once, ms
//   X(c) = 1000·c/(level·(f(c) + c·P/out)) output tokens per second of one replica
//   K    = the largest c with L(c) ≤ target for every target, within the ceiling and what engine and KV cache bear
//   n    = max(least replicas, ⌈wanted/X(K)⌉)   replicas that the throughput takes; n·price an hour
//   $/1M = price·10⁶/(3600·X(K))           at full load, whatever n
//
// All objectives are met if K ≥ 1 and n and both costs are within their bounds. If not, each single objective (and each bound that the
// user has set: replicas, accelerators, the ceiling) is let go in turn; where the others can then be met, the least move that does it is
// named. Pure and deterministic. docs/science.md tells it with figures.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/science/cost.h"
#include "lib/science/track.h"
#include "lib/science/verdict.h"

namespace patella::science {

// How far a metric's quantile lies above the mean that the model gives.
struct LatencySpread {
  LatencyMetric metric = LatencyMetric::kTimePerOutputToken;
  double quantile = 0.9;
  double ratio = 1;
};

// One replica, as it was measured.
struct ReplicaFigures {
  StepModel model;   // no points: nothing was measured, and nothing can be said
  double level = 1;  // the engine takes so many times what the model says
  Payload payload;
  std::vector<LatencySpread> spreads;  // of a target that is not here: a prior
  int most = 0;                        // requests at once that engine and KV cache bear; 0: unknown
  int knee = 0;                        // its limit where no target is set; 0: none
};

struct ObjectiveSet {
  std::vector<Target> targets;
  double min_tokens_per_second = 0;      // over all replicas; 0: none
  std::optional<Money> max_per_hour;     // of the accelerators of all replicas
  std::optional<Money> max_per_million;  // output tokens
  int ceiling = 0;                       // of a replica; 0: none
  int min_replicas = 1, max_replicas = 1;
  std::string replicas_name = "maxReplicas";  // what the bound on replicas is called
  int max_accelerators = 0;                   // over all replicas; 0: no such bound
  int accelerators_per_replica = 0;
  std::optional<Money> replica_per_hour;  // nothing is said of costs without it
};

struct Relaxation {
  std::string objective;  // "TimePerOutputToken p90 ≤ 50 ms", "cost per hour", …
  std::string nearest;    // "63 ms"
  int replicas = 0;       // with so many; 0: not told
};

enum class Shortfall { kNone, kLatency, kThroughput, kCost };

struct Feasibility {
  Shortfall shortfall = Shortfall::kNone;
  std::string message;  // which objective cannot be met, why, and the nearest that can; "" if all are met
  std::vector<Relaxation> relaxations;
  int limit = 0;  // K; 0: a target lies below what one request alone takes
  int replicas = 0;
  double tokens_per_second = 0;  // of one replica at K
};

// `slack` ≥ 0: objectives that are missed by no more than this share count as met, so that a judgement does not flicker with what is
// measured: give some once they were met, 0 once they were not.
Feasibility JudgeObjectives(const ReplicaFigures& replica, const ObjectiveSet& objectives, double slack = 0);

}  // namespace patella::science
