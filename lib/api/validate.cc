#include "lib/api/validate.h"

#include <set>

#include "absl/time/time.h"
#include "lib/api/node.h"
#include "lib/base/text.h"

namespace patella::api {
namespace {

constexpr double kGbPerGib = 1.073741824;

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
  const ModelShape& shape = spec.model.shape;
  if (shape.kv_heads && shape.attention_heads && *shape.kv_heads > *shape.attention_heads) {
    out.push_back({"spec.model.shape.kvHeads", "must be at most attentionHeads"});
  }
  if (spec.engine.type != EngineType::kPatella && spec.engine.image.empty()) {
    out.push_back({"spec.engine.image", "is needed with this type of engine: only Patella's own has a default image"});
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
  } else if (hardware.max_accelerators &&
             *spec.tensor_parallel_size * spec.scaling.min_replicas > *hardware.max_accelerators) {
    out.push_back({"spec.hardware.maxAccelerators",
                   "must be at least tensorParallelSize times scaling.minReplicas, or the fewest replicas don't fit"});
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
          ToDouble(latency[i].quantile) == ToDouble(other.quantile) && latency[i].target_ms < other.target_ms) {
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
    out.push_back({"spec.scaling.minReplicas", "must be at most maxReplicas, which is 8 unless set"});
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

void CheckPod(const PodSpec& pod, std::vector<Violation>& out) {
  for (const auto& [key, value] : pod.labels) {
    if (key.starts_with("patella.dev/"))
      out.push_back({"spec.pod.labels", "labels that begin with patella.dev/ belong to Patella"});
  }
  if (pod.tolerations.empty()) return;
  const absl::StatusOr<Node> tolerations = LoadJson(pod.tolerations);
  if (!tolerations.ok()) return out.push_back({"spec.pod.tolerations", std::string(tolerations.status().message())});
  for (size_t i = 0; i < tolerations->items.size(); ++i) {
    const Node* relation = tolerations->items[i].Find("operator");
    const Node* value = tolerations->items[i].Find("value");
    if (relation != nullptr && relation->text == "Exists" && value != nullptr && !value->IsAbsent() &&
        !value->text.empty()) {
      out.push_back({StrCat("spec.pod.tolerations[", i, "].value"), "is not used with operator: Exists: remove it"});
    }
  }
}

void CheckParameter(const char* name, const CurveParameter& parameter, std::vector<Violation>& out) {
  const double value = ToDouble(parameter.value);
  if ((!parameter.low.empty() && ToDouble(parameter.low) > value) ||
      (!parameter.high.empty() && value > ToDouble(parameter.high))) {
    out.push_back({StrCat("spec.law.", name, ".value"), "must lie between low and high"});
  }
}

}  // namespace

std::vector<Violation> Validate(const InferenceDeployment& deployment) {
  std::vector<Violation> out;
  CheckModel(deployment.spec, out);
  CheckHardware(deployment.spec, out);
  CheckObjectives(deployment.spec.objectives, out);
  CheckScaling(deployment.spec, out);
  CheckPod(deployment.spec.pod, out);
  return out;
}

std::vector<Violation> Validate(const AcceleratorClass& accelerator) {
  std::vector<Violation> out;
  if (accelerator.accelerators_per_node == 1 && accelerator.interconnect_gbps > 0) {
    out.push_back({"spec.interconnectGBps", "has no meaning with one accelerator a node: remove it"});
  }
  if (!accelerator.usable_memory_gb.empty() &&
      ToDouble(accelerator.usable_memory_gb) > accelerator.memory_gib * kGbPerGib) {
    out.push_back({"spec.usableMemoryGB", "must be at most memoryGiB (1 GiB is 1.074 GB)"});
  }
  return out;
}

std::vector<Violation> Validate(const ServingCurve& curve) {
  std::vector<Violation> out;
  CheckParameter("a", curve.spec.law.a, out);
  CheckParameter("b", curve.spec.law.b, out);
  if (curve.spec.law.cap) CheckParameter("cap", *curve.spec.law.cap, out);
  absl::Time started, finished;
  if (absl::ParseTime(absl::RFC3339_full, curve.spec.measurement.started_at, &started, nullptr) &&
      absl::ParseTime(absl::RFC3339_full, curve.spec.measurement.finished_at, &finished, nullptr) &&
      started > finished) {
    out.push_back({"spec.measurement.startedAt", "must not be after finishedAt"});
  }
  return out;
}

}  // namespace patella::api
