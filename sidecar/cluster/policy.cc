#include "sidecar/cluster/policy.h"

#include "lib/api/to_science.h"

namespace patella::sidecar {

ReplicaPolicy PolicyOf(const api::InferenceDeploymentSpec& spec) {
  ReplicaPolicy policy;
  TunerPolicy& tuner = policy.tuner;
  tuner.mode = spec.tuning.mode == api::TuningMode::kAuto     ? TuningMode::kAuto
               : spec.tuning.mode == api::TuningMode::kAdvise ? TuningMode::kAdvise
                                                              : TuningMode::kOff;
  tuner.targets = api::ToTargets(spec.objectives);
  tuner.knee_definition = api::ToKneeDefinition(spec.objectives.knee.definition);
  tuner.knee_utilization = api::ToKneeUtilization(spec.objectives.knee);
  tuner.input_tokens = static_cast<int>(spec.workload.input_tokens);
  tuner.output_tokens = static_cast<int>(spec.workload.output_tokens);
  tuner.ceiling = static_cast<int>(spec.max_concurrent_requests.value_or(0));
  tuner.max_calibration_s = static_cast<double>(spec.tuning.max_calibration_seconds);
  policy.queue_max_requests = static_cast<int>(spec.admission.queue.max_requests);
  policy.queue_max_wait = std::chrono::milliseconds(spec.admission.queue.max_wait_ms);
  return policy;
}

}  // namespace patella::sidecar
