#include "lib/api/print.h"

#include <yaml-cpp/yaml.h>

#include <optional>
#include <regex>

namespace patella::api {
namespace {

// A map that is written; a field equal to its default is left out, and so is a map without fields.
class Writer {
 public:
  void Text(const char* name, const std::string& value, const std::string& fallback = "") {
    if (value != fallback) node_[name] = Quoted(value);
  }
  void Int(const char* name, int value, int fallback) {
    if (value != fallback) node_[name] = value;
  }
  void Int(const char* name, const std::optional<int>& value) {
    if (value) node_[name] = *value;
  }
  void Bool(const char* name, bool value, bool fallback) {
    if (value != fallback) node_[name] = value;
  }
  template <typename E>
  void Enum(const char* name, E value, E fallback) {
    if (value != fallback) node_[name] = std::string(NameOf(value));
  }
  void Map(const char* name, const StringMap& map) {
    for (const auto& [key, value] : map) node_[name][key] = Quoted(value);
  }
  void List(const char* name, const std::vector<std::string>& items) {
    for (const std::string& item : items) node_[name].push_back(Quoted(item));
  }
  void Raw(const char* name, const RawYaml& yaml) {
    if (!yaml.empty()) node_[name] = YAML::Load(yaml);
  }
  void Sub(const char* name, const Writer& sub, bool required = false) {
    if (sub.node_.size() > 0)
      node_[name] = sub.node_;
    else if (required)
      node_[name] = YAML::Node(YAML::NodeType::Map);
  }
  void Append(const char* name, const Writer& item) { node_[name].push_back(item.node_); }
  std::string ToYaml() const {
    YAML::Emitter emitter;
    Emit(node_, emitter);
    return std::string(emitter.c_str()) + "\n";
  }

 private:
  // Marks text that would otherwise be read back as a number or a truth value.
  static YAML::Node Quoted(const std::string& value) {
    YAML::Node node(value);
    node.SetTag("!");
    return node;
  }

  static bool IsPlain(const std::string& text) {
    static const std::regex kPlain("[A-Za-z][-A-Za-z0-9_./]*(://[-A-Za-z0-9_./]+)?"),
        kWord("true|false|null|yes|no|on|off|y|n", std::regex::icase);
    return std::regex_match(text, kPlain) && !std::regex_match(text, kWord);
  }

  static void Emit(const YAML::Node& node, YAML::Emitter& out) {
    if (node.IsMap()) {
      out << YAML::BeginMap;
      for (const auto& field : node) {
        out << YAML::Key << field.first << YAML::Value;
        Emit(field.second, out);
      }
      out << YAML::EndMap;
    } else if (node.IsSequence()) {
      out << YAML::BeginSeq;
      for (const auto& item : node) Emit(item, out);
      out << YAML::EndSeq;
    } else if (node.IsScalar() && node.Tag() == "!" && !IsPlain(node.Scalar())) {
      out << YAML::DoubleQuoted << node.Scalar();
    } else if (node.IsScalar()) {
      out << node.Scalar();
    } else {
      out << YAML::Null;
    }
  }

  YAML::Node node_{YAML::NodeType::Map};
};

Writer MetadataOf(const Metadata& metadata) {
  Writer w;
  w.Text("name", metadata.name);
  w.Text("namespace", metadata.namespace_name, "default");
  w.Map("labels", metadata.labels);
  w.Map("annotations", metadata.annotations);
  return w;
}

Writer ModelOf(const ModelSpec& model) {
  Writer w, shape, ref;
  w.Text("name", model.name);
  w.Text("uri", model.uri);
  if (model.token_secret_ref) {
    ref.Text("name", model.token_secret_ref->name);
    ref.Text("key", model.token_secret_ref->key);
  }
  w.Sub("tokenSecretRef", ref);
  shape.Int("layers", model.shape.layers);
  shape.Int("hiddenSize", model.shape.hidden_size);
  shape.Int("attentionHeads", model.shape.attention_heads);
  shape.Int("kvHeads", model.shape.kv_heads);
  shape.Int("headSize", model.shape.head_size);
  shape.Int("vocabularySize", model.shape.vocabulary_size);
  shape.Int("parametersMillions", model.shape.parameters_millions);
  w.Sub("shape", shape);
  return w;
}

Writer EngineOf(const EngineSpec& engine) {
  Writer w;
  w.Enum("type", engine.type, EngineType::kPatella);
  w.Text("image", engine.image);
  w.List("args", engine.args);
  for (const EnvVar& variable : engine.env) {
    Writer item;
    item.Text("name", variable.name);
    item.Text("value", variable.value);
    w.Append("env", item);
  }
  return w;
}

Writer HardwareOf(const HardwareSpec& hardware) {
  Writer w;
  w.List("acceleratorClasses", hardware.accelerator_classes);
  w.Int("maxAcceleratorsPerReplica", hardware.max_accelerators_per_replica);
  w.Int("maxAccelerators", hardware.max_accelerators);
  return w;
}

Writer ObjectivesOf(const ObjectivesSpec& objectives) {
  Writer w, throughput, cost, knee;
  w.Enum("prefer", objectives.prefer, Prefer::kCost);
  for (const LatencyObjective& objective : objectives.latency) {
    Writer item;
    item.Text("metric", std::string(NameOf(objective.metric)));
    item.Text("quantile", objective.quantile);
    item.Int("targetMs", objective.target_ms);
    w.Append("latency", item);
  }
  throughput.Int("minTokensPerSecond", objectives.throughput.min_tokens_per_second);
  w.Sub("throughput", throughput);
  cost.Text("maxPerHour", objectives.cost.max_per_hour);
  cost.Text("maxPerMillionTokens", objectives.cost.max_per_million_tokens);
  w.Sub("cost", cost);
  knee.Enum("definition", objectives.knee.definition, KneeDefinition::kUtilization);
  knee.Text("utilization", objectives.knee.utilization);
  w.Sub("knee", knee);
  return w;
}

Writer TuningOf(const TuningSpec& tuning) {
  const TuningSpec fallback;
  Writer w, explore;
  w.Enum("mode", tuning.mode, fallback.mode);
  w.Int("maxCalibrationSeconds", tuning.max_calibration_seconds, fallback.max_calibration_seconds);
  explore.Bool("enabled", tuning.explore.enabled, fallback.explore.enabled);
  explore.Int("maxSecondsPerTrial", tuning.explore.max_seconds_per_trial, fallback.explore.max_seconds_per_trial);
  explore.Bool("provisionNodes", tuning.explore.provision_nodes, fallback.explore.provision_nodes);
  w.Sub("explore", explore);
  return w;
}

Writer ScalingOf(const ScalingSpec& scaling) {
  const ScalingSpec fallback;
  Writer w;
  w.Enum("mode", scaling.mode, fallback.mode);
  w.Int("minReplicas", scaling.min_replicas, fallback.min_replicas);
  w.Int("maxReplicas", scaling.max_replicas, fallback.max_replicas);
  w.Int("scaleDownStabilizationSeconds", scaling.scale_down_stabilization_seconds,
        fallback.scale_down_stabilization_seconds);
  return w;
}

Writer AdmissionOf(const AdmissionSpec& admission) {
  Writer w, queue;
  queue.Int("maxRequests", admission.queue.max_requests, 0);
  queue.Int("maxWaitMs", admission.queue.max_wait_ms, 0);
  w.Sub("queue", queue);
  w.Enum("overflow", admission.overflow, Overflow::kForward);
  return w;
}

Writer PodOf(const PodSpec& pod) {
  Writer w;
  w.Map("labels", pod.labels);
  w.Map("annotations", pod.annotations);
  w.Map("nodeSelector", pod.node_selector);
  w.Raw("tolerations", pod.tolerations);
  w.Raw("affinity", pod.affinity);
  w.Raw("topologySpreadConstraints", pod.topology_spread_constraints);
  w.Text("priorityClassName", pod.priority_class_name);
  w.Text("serviceAccountName", pod.service_account_name);
  w.Raw("imagePullSecrets", pod.image_pull_secrets);
  w.Raw("volumes", pod.volumes);
  w.Raw("resources", pod.resources);
  return w;
}

Writer SpecOf(const InferenceDeploymentSpec& spec) {
  const InferenceDeploymentSpec fallback;
  Writer w, workload, drain;
  w.Sub("model", ModelOf(spec.model));
  w.Sub("engine", EngineOf(spec.engine));
  w.Sub("hardware", HardwareOf(spec.hardware));
  w.Int("tensorParallelSize", spec.tensor_parallel_size);
  workload.Int("inputTokens", spec.workload.input_tokens, fallback.workload.input_tokens);
  workload.Int("outputTokens", spec.workload.output_tokens, fallback.workload.output_tokens);
  w.Sub("workload", workload);
  w.Sub("objectives", ObjectivesOf(spec.objectives));
  w.Sub("tuning", TuningOf(spec.tuning));
  w.Sub("scaling", ScalingOf(spec.scaling));
  w.Sub("admission", AdmissionOf(spec.admission));
  drain.Int("maxSeconds", spec.drain_max_seconds, fallback.drain_max_seconds);
  w.Sub("drain", drain);
  w.Enum("updatePolicy", spec.update_policy, fallback.update_policy);
  w.Bool("paused", spec.paused, false);
  w.Sub("pod", PodOf(spec.pod));
  w.Int("maxConcurrentRequests", spec.max_concurrent_requests);
  w.Int("replicas", spec.replicas, fallback.replicas);
  return w;
}

std::string Document(const char* kind, const Metadata& metadata, const Writer& spec) {
  Writer w;
  w.Text("apiVersion", kApiVersion);
  w.Text("kind", kind);
  w.Sub("metadata", MetadataOf(metadata));
  w.Sub("spec", spec, true);
  return w.ToYaml();
}

}  // namespace

std::string Print(const InferenceDeployment& deployment) {
  return Document("InferenceDeployment", deployment.metadata, SpecOf(deployment.spec));
}

std::string Print(const AcceleratorClass& accelerator) {
  const AcceleratorClass fallback;
  Writer w;
  w.Int("memoryGiB", accelerator.memory_gib, 0);
  w.Int("memoryBandwidthGBps", accelerator.memory_bandwidth_gbps, 0);
  w.Int("fp16TFLOPS", accelerator.fp16_tflops, 0);
  w.Int("interconnectGBps", accelerator.interconnect_gbps, 0);
  w.Int("acceleratorsPerNode", accelerator.accelerators_per_node, fallback.accelerators_per_node);
  w.Text("resourceName", accelerator.resource_name, fallback.resource_name);
  w.Map("nodeSelector", accelerator.node_selector);
  w.Text("pricePerNodeHour", accelerator.price_per_node_hour);
  return Document("AcceleratorClass", accelerator.metadata, w);
}

}  // namespace patella::api
