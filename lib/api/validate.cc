#include "lib/api/validate.h"

#include <set>

#include "lib/base/text.h"

namespace patella::api {
namespace {

std::string_view SchemeOf(std::string_view uri) {
  const size_t at = uri.find("://");
  return at == std::string_view::npos ? std::string_view() : uri.substr(0, at);
}

void CheckModel(const InferenceDeploymentSpec& spec, std::vector<Violation>& out) {
  const std::string_view scheme = SchemeOf(spec.model.uri);
  if (scheme == "hf" && spec.engine.type == EngineType::kPatella) {
    out.push_back({"spec.model.uri",
                   "hf:// needs an engine that downloads models itself (VLLM or TGI); Patella's takes pvc://, image:// "
                   "or file://"});
  }
  if (spec.model.token_secret_ref && scheme != "hf") {
    out.push_back({"spec.model.tokenSecretRef", "is only used with a hf:// uri: remove it"});
  }
}

void CheckHardware(const InferenceDeploymentSpec& spec, std::vector<Violation>& out) {
  const HardwareSpec& hardware = spec.hardware;
  if (hardware.max_accelerators && hardware.max_accelerators_per_replica &&
      *hardware.max_accelerators < *hardware.max_accelerators_per_replica) {
    out.push_back({"spec.hardware.maxAccelerators", "must be at least maxAcceleratorsPerReplica"});
  }
  if (!spec.tensor_parallel_size) return;
  if (hardware.max_accelerators_per_replica && *spec.tensor_parallel_size > *hardware.max_accelerators_per_replica) {
    out.push_back({"spec.tensorParallelSize", "must be at most hardware.maxAcceleratorsPerReplica"});
  }
  if (hardware.max_accelerators && *spec.tensor_parallel_size > *hardware.max_accelerators) {
    out.push_back({"spec.tensorParallelSize", "must be at most hardware.maxAccelerators"});
  }
}

void CheckLatency(const std::vector<LatencyObjective>& latency, std::vector<Violation>& out) {
  std::set<std::pair<LatencyMetric, double>> seen;
  for (size_t i = 0; i < latency.size(); ++i) {
    const std::string path = StrCat("spec.objectives.latency[", i, "]");
    if (!seen.emplace(latency[i].metric, ToDouble(latency[i].quantile)).second) {
      out.push_back({path, "repeats a metric and quantile: keep the stricter of the two"});
    }
    for (const LatencyObjective& other : latency) {
      if (latency[i].metric == LatencyMetric::kEndToEnd && other.metric == LatencyMetric::kTimeToFirstToken &&
          latency[i].quantile == other.quantile && latency[i].target_ms < other.target_ms) {
        out.push_back(
            {path + ".targetMs", "EndToEnd includes TimeToFirstToken, so its target must not be the smaller"});
      }
    }
  }
}

void CheckObjectives(const ObjectivesSpec& objectives, std::vector<Violation>& out) {
  CheckLatency(objectives.latency, out);
  if (objectives.knee.definition != KneeDefinition::kUtilization && !objectives.knee.utilization.empty()) {
    out.push_back({"spec.objectives.knee.utilization", "is only used with definition: Utilization: remove it"});
  }
}

void CheckScaling(const InferenceDeploymentSpec& spec, std::vector<Violation>& out) {
  if (spec.scaling.min_replicas > spec.scaling.max_replicas) {
    out.push_back(
        {"spec.scaling.minReplicas", StrCat("must be at most maxReplicas, which is ", spec.scaling.max_replicas)});
  }
  const QueueSpec& queue = spec.admission.queue;
  if (queue.max_requests > 0 && queue.max_wait_ms == 0) {
    out.push_back(
        {"spec.admission.queue.maxWaitMs", "must be at least 1 when maxRequests is: a queue needs a deadline"});
  }
  if (queue.max_requests == 0 && queue.max_wait_ms > 0) {
    out.push_back(
        {"spec.admission.queue.maxRequests", "must be at least 1 when maxWaitMs is: nothing can wait in a queue of 0"});
  }
  if (spec.tuning.mode == TuningMode::kOff && !spec.max_concurrent_requests) {
    out.push_back(
        {"spec.maxConcurrentRequests", "is needed with tuning.mode: Off, because nothing else sets the limit"});
  }
}

}  // namespace

std::vector<Violation> Validate(const InferenceDeployment& deployment) {
  std::vector<Violation> out;
  CheckModel(deployment.spec, out);
  CheckHardware(deployment.spec, out);
  CheckObjectives(deployment.spec.objectives, out);
  CheckScaling(deployment.spec, out);
  return out;
}

std::vector<Violation> Validate(const AcceleratorClass& accelerator) {
  std::vector<Violation> out;
  if (accelerator.accelerators_per_node == 1 && accelerator.interconnect_gbps > 0) {
    out.push_back({"spec.interconnectGBps", "has no meaning with one accelerator a node: remove it"});
  }
  return out;
}

}  // namespace patella::api
