// The custom resource InferenceDeployment: what a user wants of one model. Values; thread-compatible.
//
// Decimals (quantiles, money) are strings as the user wrote them, because the API has no floating-point numbers: see ToDouble.
// RawYaml holds a part of Kubernetes' own API in YAML's flow form; only its outer kind (map or list) has been checked.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/api/enums.h"

namespace patella::api {

inline constexpr char kApiVersion[] = "patella.dev/v1alpha1";

using StringMap = std::map<std::string, std::string>;
using Decimal = std::string;  // "0.90"; "" is not set
using RawYaml = std::string;  // "" is not set

double ToDouble(const Decimal& decimal);  // 0 if not set

struct Metadata {
  std::string name;
  std::string namespace_name = "default";
  StringMap labels;
  StringMap annotations;
  bool operator==(const Metadata&) const = default;
};

struct SecretKeyRef {
  std::string name;
  std::string key;
  bool operator==(const SecretKeyRef&) const = default;
};

struct ModelShape {  // only if it can't be read from catalogue or model
  std::optional<int> layers, hidden_size, attention_heads, kv_heads, head_size, vocabulary_size;
  std::optional<int> parameters_millions;
  bool operator==(const ModelShape&) const = default;
};

struct ModelSpec {
  std::string name;  // the served name
  std::string uri;   // pvc:// | image:// | hf:// | file://
  std::optional<SecretKeyRef> token_secret_ref;
  ModelShape shape;
  bool operator==(const ModelSpec&) const = default;
};

struct EnvVar {
  std::string name;
  std::string value;
  bool operator==(const EnvVar&) const = default;
};

struct EngineSpec {
  EngineType type = EngineType::kPatella;
  std::string image;
  std::vector<std::string> args;
  std::vector<EnvVar> env;
  bool operator==(const EngineSpec&) const = default;
};

struct HardwareSpec {
  std::vector<std::string> accelerator_classes;  // candidates; empty: all
  std::optional<int> max_accelerators_per_replica;
  std::optional<int> max_accelerators;  // over all revisions, trials included
  bool operator==(const HardwareSpec&) const = default;
};

struct WorkloadSpec {  // the representative request
  int input_tokens = 256;
  int output_tokens = 256;
  bool operator==(const WorkloadSpec&) const = default;
};

struct LatencyObjective {
  LatencyMetric metric = LatencyMetric::kTimePerOutputToken;
  Decimal quantile = "0.90";
  int target_ms = 0;
  bool operator==(const LatencyObjective&) const = default;
};

struct ThroughputObjective {
  std::optional<int> min_tokens_per_second;
  bool operator==(const ThroughputObjective&) const = default;
};

struct CostObjective {
  Decimal max_per_hour;
  Decimal max_per_million_tokens;
  bool operator==(const CostObjective&) const = default;
};

struct KneeObjective {
  KneeDefinition definition = KneeDefinition::kUtilization;
  Decimal utilization;  // of Utilization alone; not set: 0.7
  bool operator==(const KneeObjective&) const = default;
};

struct ObjectivesSpec {
  Prefer prefer = Prefer::kCost;
  std::vector<LatencyObjective> latency;
  ThroughputObjective throughput;
  CostObjective cost;
  KneeObjective knee;
  bool operator==(const ObjectivesSpec&) const = default;
};

struct ExploreSpec {
  bool enabled = true;
  int max_seconds_per_trial = 600;
  bool provision_nodes = false;
  bool operator==(const ExploreSpec&) const = default;
};

struct TuningSpec {
  TuningMode mode = TuningMode::kAuto;
  int max_calibration_seconds = 90;
  ExploreSpec explore;
  bool operator==(const TuningSpec&) const = default;
};

struct ScalingSpec {
  ScalingMode mode = ScalingMode::kAuto;
  int min_replicas = 1;
  int max_replicas = 8;
  int scale_down_stabilization_seconds = 600;
  bool operator==(const ScalingSpec&) const = default;
};

struct QueueSpec {
  int max_requests = 0;  // 0: no queue
  int max_wait_ms = 0;
  bool operator==(const QueueSpec&) const = default;
};

struct AdmissionSpec {
  QueueSpec queue;
  Overflow overflow = Overflow::kForward;
  bool operator==(const AdmissionSpec&) const = default;
};

struct PodSpec {
  StringMap labels;
  StringMap annotations;
  StringMap node_selector;
  RawYaml tolerations, affinity, topology_spread_constraints, image_pull_secrets, volumes, resources;
  std::string priority_class_name;
  std::string service_account_name;
  bool operator==(const PodSpec&) const = default;
};

struct InferenceDeploymentSpec {
  ModelSpec model;
  EngineSpec engine;
  HardwareSpec hardware;
  std::optional<int> tensor_parallel_size;  // not set: chosen
  WorkloadSpec workload;
  ObjectivesSpec objectives;
  TuningSpec tuning;
  ScalingSpec scaling;
  AdmissionSpec admission;
  int drain_max_seconds = 120;
  UpdatePolicy update_policy = UpdatePolicy::kManual;
  bool paused = false;
  PodSpec pod;
  std::optional<int> max_concurrent_requests;  // the user's ceiling
  int replicas = 1;
  bool operator==(const InferenceDeploymentSpec&) const = default;
};

struct InferenceDeployment {
  Metadata metadata;
  InferenceDeploymentSpec spec;
  bool operator==(const InferenceDeployment&) const = default;
};

}  // namespace patella::api
