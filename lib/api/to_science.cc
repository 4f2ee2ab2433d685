#include "lib/api/to_science.h"

#include <algorithm>
#include <utility>

#include "lib/base/text.h"
#include "lib/science/catalogue.h"

namespace patella::api {
namespace {

constexpr double kUsableShare = 0.92;
constexpr double kGbPerGib = 1.073741824;
constexpr int kDirectLinkGbps = 100;  // PCIe 5.0 ×16 gives 64, the slowest NVLink 200
constexpr size_t kMoneyDecimals = 6;
constexpr char kInstanceLabel[] = "node.kubernetes.io/instance-type";

science::LatencyMetric ToMetric(LatencyMetric metric) {
  switch (metric) {
    case LatencyMetric::kTimeToFirstToken:
      return science::LatencyMetric::kTimeToFirstToken;
    case LatencyMetric::kEndToEnd:
      return science::LatencyMetric::kEndToEnd;
    case LatencyMetric::kTimePerOutputToken:
      break;
  }
  return science::LatencyMetric::kTimePerOutputToken;
}

}  // namespace

science::Accelerator ToAccelerator(const AcceleratorClass& accelerator) {
  science::Accelerator out;
  out.name = accelerator.metadata.name;
  if (const auto it = accelerator.node_selector.find(kInstanceLabel); it != accelerator.node_selector.end())
    out.instance = it->second;
  out.memory_gb = accelerator.usable_memory_gb.empty() ? kUsableShare * kGbPerGib * accelerator.memory_gib
                                                       : ToDouble(accelerator.usable_memory_gb);
  out.bandwidth_gb_per_s = accelerator.memory_bandwidth_gbps;
  out.fp16_tflops = accelerator.fp16_tflops;
  out.nvlink = accelerator.interconnect_gbps >= kDirectLinkGbps;
  out.per_node = accelerator.accelerators_per_node;
  out.price_per_node_hour = ToMoney(accelerator.price_per_node_hour).value_or(science::Money{});
  return out;
}

absl::StatusOr<science::ModelShape> ToModelShape(const ModelSpec& model) {
  const ModelShape& given = model.shape;
  if (given.layers && given.attention_heads && given.head_size && given.parameters_millions) {
    science::ModelShape shape{.name = model.name,
                              .parameters_billions = *given.parameters_millions / 1e3,
                              .layers = *given.layers,
                              .attention_heads = *given.attention_heads,
                              .head_size = *given.head_size};
    shape.kv_heads = given.kv_heads.value_or(shape.attention_heads);
    shape.hidden_size = given.hidden_size.value_or(shape.attention_heads * shape.head_size);
    return shape;
  }
  const absl::StatusOr<science::ModelShape> known = science::FindModel(model.name);
  if (known.ok()) return known;
  return absl::NotFoundError(StrCat(ToStd(known.status().message()),
                                    "; for another model give spec.model.shape: layers, attentionHeads, kvHeads, "
                                    "headSize, parametersMillions"));
}

std::vector<science::Target> ToTargets(const ObjectivesSpec& objectives) {
  std::vector<science::Target> targets;
  for (const LatencyObjective& o : objectives.latency) {
    targets.push_back({ToMetric(o.metric), ToDouble(o.quantile), static_cast<double>(o.target_ms)});
  }
  return targets;
}

science::KneeDefinition ToKneeDefinition(KneeDefinition definition) {
  switch (definition) {
    case KneeDefinition::kHalfLatency:
      return science::KneeDefinition::kHalfLatency;
    case KneeDefinition::kKleinrock:
      return science::KneeDefinition::kKleinrock;
    case KneeDefinition::kUtilization:
      break;
  }
  return science::KneeDefinition::kUtilization;
}

double ToKneeUtilization(const KneeObjective& knee) {
  return knee.utilization.empty() ? science::KneeInputs{}.utilization : ToDouble(knee.utilization);
}

std::optional<science::Money> ToMoney(const Decimal& dollars) {
  if (dollars.empty()) return std::nullopt;
  const size_t point = dollars.find('.');
  const size_t digits = point == Decimal::npos ? dollars.size() : point + 1 + kMoneyDecimals;
  const absl::StatusOr<science::Money> money = science::ParseMoney(dollars.substr(0, digits));
  return money.ok() ? std::optional(*money) : std::nullopt;
}

int MostAcceleratorsPerReplica(const InferenceDeploymentSpec& spec) {
  const int replica = spec.hardware.max_accelerators_per_replica.value_or(0);
  const int all = spec.hardware.max_accelerators.value_or(0);
  return replica > 0 && all > 0 ? std::min(replica, all) : std::max(replica, all);
}

science::PlanInputs ToPlanInputs(const InferenceDeploymentSpec& spec, science::ModelShape shape) {
  science::PlanInputs in;
  in.model = std::move(shape);
  in.input_tokens = spec.workload.input_tokens;
  in.output_tokens = spec.workload.output_tokens;
  in.tensor_parallel = spec.tensor_parallel_size.value_or(0);
  in.max_accelerators_per_replica = MostAcceleratorsPerReplica(spec);
  in.min_tokens_per_second = spec.objectives.throughput.min_tokens_per_second.value_or(0);
  in.targets = ToTargets(spec.objectives);
  in.max_per_hour = ToMoney(spec.objectives.cost.max_per_hour);
  in.max_per_million = ToMoney(spec.objectives.cost.max_per_million_tokens);
  if (spec.objectives.prefer == Prefer::kLatency) in.prefer = science::Preference::kLatency;
  if (spec.objectives.prefer == Prefer::kThroughput) in.prefer = science::Preference::kThroughput;
  return in;
}

}  // namespace patella::api
