#include "lib/science/cost.h"

#include <cmath>

#include "absl/strings/str_format.h"

namespace patella::science {

absl::StatusOr<Money> ParseMoney(std::string_view text) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(
        absl::StrFormat("\"%s\" is not an amount of money: expected dollars such as 12.34", std::string(text)));
  };
  std::string_view rest = text;
  if (rest.starts_with('$')) rest.remove_prefix(1);
  int64_t micro = 0;
  int decimals = -1;
  bool digits = false;
  for (const char c : rest) {
    if (c == '.' && decimals < 0) {
      decimals = 0;
      continue;
    }
    if (c < '0' || c > '9' || decimals == 6 || micro > 100'000'000'000'000) return wrong();
    micro = micro * 10 + (c - '0');
    digits = true;
    if (decimals >= 0) ++decimals;
  }
  if (!digits) return wrong();
  for (int i = decimals < 0 ? 0 : decimals; i < 6; ++i) {
    if (micro > 100'000'000'000'000'000) return wrong();
    micro *= 10;
  }
  return Money{micro};
}

std::string ToText(Money money, int decimals) {
  int64_t unit = 1, scale = 1;
  for (int i = decimals; i < 6; ++i) unit *= 10;
  for (int i = 0; i < decimals; ++i) scale *= 10;
  const int64_t rounded = (money.micro_dollars + unit / 2) / unit;
  if (decimals == 0) return absl::StrFormat("%d", rounded);
  return absl::StrFormat("%d.%0*d", rounded / scale, decimals, rounded % scale);
}

int NodesFor(int accelerators_per_replica, int replicas, int per_node) {
  const int on_a_node = per_node / accelerators_per_replica;
  return on_a_node < 1 ? 0 : (replicas + on_a_node - 1) / on_a_node;
}

HourlyCost CostPerHour(Money price_per_node_hour, int per_node, int accelerators_per_replica, int replicas) {
  HourlyCost cost{.node_count = NodesFor(accelerators_per_replica, replicas, per_node)};
  cost.nodes.micro_dollars = price_per_node_hour.micro_dollars * cost.node_count;
  const int64_t used = static_cast<int64_t>(accelerators_per_replica) * replicas;
  cost.accelerators.micro_dollars = (price_per_node_hour.micro_dollars * used + per_node / 2) / per_node;
  return cost;
}

Money PerMillionTokens(Money per_hour, double tokens_per_second) {
  return {std::llround(static_cast<double>(per_hour.micro_dollars) * 1e6 / (3600 * tokens_per_second))};
}

}  // namespace patella::science
