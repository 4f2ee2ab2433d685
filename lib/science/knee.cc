#include "lib/science/knee.h"

#include <algorithm>
#include <cmath>

namespace patella::science {
namespace {

constexpr double kTimeoutShare = 0.8;  // the slowest of a wave waits a fifth longer than the mean

constexpr KneeDefinition kClosedForms[] = {KneeDefinition::kLatencyTarget,  KneeDefinition::kHalfLatency,
                                           KneeDefinition::kKleinrock,      KneeDefinition::kUtilization,
                                           KneeDefinition::kDoublingGain25, KneeDefinition::kKvCap,
                                           KneeDefinition::kTimeout};

bool IsOfShape(KneeDefinition definition) {
  return definition == KneeDefinition::kHalfLatency || definition == KneeDefinition::kKleinrock ||
         definition == KneeDefinition::kUtilization || definition == KneeDefinition::kDoublingGain25;
}

// The concurrency that the definition asks for, cap or not. NaN: the definition does not apply.
double Wanted(KneeDefinition definition, const Law& law, const KneeInputs& inputs) {
  const double ratio = law.b_ms > 0 ? law.a_ms / law.b_ms : kInfinity;
  switch (definition) {
    case KneeDefinition::kLatencyTarget:
      if (!std::isfinite(inputs.target_ms)) return NAN;
      if (law.b_ms <= 0) return law.a_ms <= inputs.target_ms ? kInfinity : 0;
      return std::max(0.0, (inputs.target_ms - law.a_ms) / law.b_ms);
    case KneeDefinition::kHalfLatency:
      return kHalfLatencyRatio * ratio;
    case KneeDefinition::kKleinrock:
      return ratio;
    case KneeDefinition::kUtilization:
      return ratio * inputs.utilization / (1 - inputs.utilization);
    case KneeDefinition::kDoublingGain25:
      return 1.5 * ratio;
    case KneeDefinition::kKvCap: {
      const double cap = std::min(law.cap, inputs.kv_cap);
      return std::isfinite(cap) ? cap : NAN;
    }
    case KneeDefinition::kTimeout:
      if (!std::isfinite(inputs.timeout_s) || inputs.output_tokens <= 0) return NAN;
      return TimeoutCeiling(PeakTokensPerSecond(law), inputs.timeout_s, inputs.output_tokens);
  }
  return NAN;
}

}  // namespace

std::string_view NameOf(KneeDefinition definition) {
  switch (definition) {
    case KneeDefinition::kLatencyTarget:
      return "LatencyTarget";
    case KneeDefinition::kHalfLatency:
      return "HalfLatency";
    case KneeDefinition::kKleinrock:
      return "Kleinrock";
    case KneeDefinition::kUtilization:
      return "Utilization";
    case KneeDefinition::kDoublingGain25:
      return "DoublingGain25";
    case KneeDefinition::kKvCap:
      return "KvCapacity";
    case KneeDefinition::kTimeout:
      return "Timeout";
  }
  return "";
}

bool BatchingGains(const Law& law) { return law.a_ms >= law.b_ms; }

double TimeoutCeiling(double peak_tokens_per_second, double timeout_s, int output_tokens) {
  return kTimeoutShare * timeout_s * peak_tokens_per_second / output_tokens;
}

std::optional<KneeEstimate> Knee(KneeDefinition definition, const Law& law, const KneeInputs& inputs) {
  if (IsOfShape(definition) && !BatchingGains(law)) return std::nullopt;
  const double wanted = Wanted(definition, law, inputs);
  if (std::isnan(wanted)) return std::nullopt;
  const double cap = std::min(law.cap, inputs.kv_cap);
  // More than the cap may be in flight before a time-out strikes: the others queue. Every other knee lies below it.
  const bool clipped = definition != KneeDefinition::kTimeout && wanted > cap;
  const double concurrency = clipped ? cap : wanted;
  if (!std::isfinite(concurrency)) return std::nullopt;
  KneeEstimate knee{.definition = definition, .concurrency = concurrency, .at_cap = clipped};
  knee.utilization = UtilizationAt(law, concurrency);
  knee.ms_per_token = law.MsPerToken(concurrency);
  knee.tokens_per_second = knee.ms_per_token > 0 ? law.TokensPerSecond(concurrency) : 0;
  return knee;
}

std::vector<KneeEstimate> AllKnees(const Law& law, const KneeInputs& inputs) {
  std::vector<KneeEstimate> knees;
  for (const KneeDefinition definition : kClosedForms) {
    if (const auto knee = Knee(definition, law, inputs)) knees.push_back(*knee);
  }
  return knees;
}

}  // namespace patella::science
