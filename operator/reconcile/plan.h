// What must exist for one InferenceDeployment, as plain values in Kubernetes' terms. Thread-compatible.
//
// Invariants: every child carries the labels patella.dev/deployment and patella.dev/revision; names are unique within a kind; the settings
// ConfigMap is immutable and named by the revision.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace patella::reconcile {

using Labels = std::map<std::string, std::string>;

struct Env {
  std::string name;
  std::string value;
  bool operator==(const Env&) const = default;
};

struct Port {
  std::string name;
  int number = 0;
  bool operator==(const Port&) const = default;
};

struct HttpProbe {
  std::string path;
  std::string port;  // a Port's name
  int period_seconds = 5;
  int failure_threshold = 3;
  bool operator==(const HttpProbe&) const = default;
};

struct Container {
  std::string name;  // "engine", "sidecar"
  std::string image;
  std::vector<std::string> args;
  std::vector<Env> env;
  std::vector<Port> ports;
  std::optional<HttpProbe> startup_probe, readiness_probe, liveness_probe;
  std::string pre_stop_path;    // GET on the sidecar's admin port before the container is stopped; "" for none
  bool native_sidecar = false;  // an init container with restartPolicy: Always: starts first, stops last
  bool operator==(const Container&) const = default;
};

struct PodTemplate {
  Labels labels;
  Labels annotations;
  Labels node_selector;
  std::vector<Container> containers;
  int termination_grace_seconds = 30;
  bool operator==(const PodTemplate&) const = default;
};

struct Deployment {
  std::string name;
  Labels labels;
  Labels selector;
  int replicas = 1;
  PodTemplate pod;
  bool operator==(const Deployment&) const = default;
};

struct ConfigMap {
  std::string name;
  Labels labels;
  std::map<std::string, std::string> settings;
  bool immutable = false;
  bool operator==(const ConfigMap&) const = default;
};

struct Service {
  std::string name;
  Labels labels;
  Labels selector;
  std::vector<Port> ports;
  bool operator==(const Service&) const = default;
};

struct Condition {
  std::string type;  // "Reconciling", "Stalled"
  bool status = false;
  std::string reason;
  std::string message;
  bool operator==(const Condition&) const = default;
};

struct Plan {
  std::string revision;  // hash
  std::vector<ConfigMap> config_maps;
  std::vector<Deployment> deployments;
  std::vector<Service> services;
  std::vector<Condition> conditions;
  bool operator==(const Plan&) const = default;
};

// The plan as YAML-like text, for golden files.
std::string Print(const Plan& plan);

}  // namespace patella::reconcile
