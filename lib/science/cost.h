// Money in whole millionths of a dollar, so that what is printed is what was multiplied; and what replicas cost.
//
// Clouds sell nodes: replicas are packed on nodes (a replica never spans two), and both prices are given.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace patella::science {

struct Money {
  int64_t micro_dollars = 0;
  auto operator<=>(const Money&) const = default;
};

// "12.34": from "12.34", "$12", "0.000001". InvalidArgument for anything else, negatives and more than six decimals
// included.
absl::StatusOr<Money> ParseMoney(std::string_view text);
// Rounded half up to `decimals` (0 … 6): "32.77".
std::string ToText(Money money, int decimals = 2);

int NodesFor(int accelerators_per_replica, int replicas, int per_node);

struct HourlyCost {
  Money accelerators;  // the share that the replicas use
  Money nodes;         // what is billed
  int node_count = 0;
};
HourlyCost CostPerHour(Money price_per_node_hour, int per_node, int accelerators_per_replica, int replicas);

// Rounded half up. `tokens_per_second` > 0.
Money PerMillionTokens(Money per_hour, double tokens_per_second);

}  // namespace patella::science
