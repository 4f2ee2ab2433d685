// Which accelerator, tensor-parallel degree and number of replicas meets the objectives at least cost, before anything was bought.
//
// A row is one accelerator × degree. Its law is measured where the caller has points of a sweep or ramp, else predicted from memory and
// bandwidth (capacity.h: `a` within 14 %, `b` within a factor of two): a predicted row ranks candidates, it is no promise.
// Pure and deterministic.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/science/capacity.h"
#include "lib/science/feasible.h"
#include "lib/science/verdict.h"

namespace patella::science {

enum class Preference { kCost, kLatency, kThroughput };

// A measured curve of one replica.
struct Measured {
  std::string accelerator;  // Accelerator::name
  int tensor_parallel = 1;
  std::vector<CurvePoint> points;
};

struct PlanInputs {
  ModelShape model;
  std::vector<Accelerator> accelerators;
  int input_tokens = 256;
  int output_tokens = 256;
  std::vector<Target> targets;
  double min_tokens_per_second = 0;      // over all replicas; 0: one replica is enough
  std::optional<Money> max_per_hour;     // of the accelerators used
  std::optional<Money> max_per_million;  // output tokens
  int tensor_parallel = 0;               // 0: every degree
  int max_accelerators_per_replica = 0;  // 0: a node's
  Preference prefer = Preference::kCost;
  std::vector<Measured> measured;
};

struct PlanRow {
  std::string accelerator, instance;
  int tensor_parallel = 1;
  std::string why_not;        // it cannot serve the model, or misses an objective; empty: it meets all
  bool fits = false;          // weights and one request fit; the figures below are valid
  bool measured = false;      // else predicted
  double kv_capacity = 0;     // of a replica, in requests of this workload
  double critical_batch = 0;  // requests at once from which arithmetic, not bandwidth, is the bound
  Law law;
  int limit = 0;  // requests at once
  std::string bound_by;
  double alone_ms_per_token = 0, ms_per_token = 0;  // means: one request; at the limit
  double tokens_per_second = 0;                     // of one replica at the limit
  int replicas = 0;
  HourlyCost cost;
  Money per_million;  // by the accelerators used, at full load

  bool meets() const { return why_not.empty(); }
};

struct Plan {
  std::vector<PlanRow> rows;            // those that meet all first, best first
  std::vector<Relaxation> relaxations;  // if none meets all: one objective each that, moved so far alone, would be met
};

// InvalidArgument: no accelerator, an impossible shape, or a target without a positive bound.
absl::StatusOr<Plan> MakePlan(const PlanInputs& inputs);

struct Operating {
  double concurrency = 0;
  double tokens_per_second = 0;
};
// The most throughput of measured points up to where latency first reaches the target: latency made monotone, log-log interpolation
// between neighbours, no extrapolation. None if the first point is above the target.
std::optional<Operating> OperatingPoint(std::vector<CurvePoint> points, double target_ms);

}  // namespace patella::science
