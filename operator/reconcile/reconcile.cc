#include "operator/reconcile/reconcile.h"

#include "lib/base/text.h"

namespace patella::reconcile {
namespace {

constexpr int kClientPort = 8080;
constexpr int kAdminPort = 8081;

// FNV-1a, each part followed by a separator so that ("ab", "c") and ("a", "bc") differ.
class Hasher {
 public:
  void Add(std::string_view part) {
    for (const char c : part) Mix(static_cast<unsigned char>(c));
    Mix(0x100);
  }
  std::string Digits() const {
    const std::string hex = Hex(hash_ ^ (hash_ >> 32));
    return hex.size() <= 8 ? std::string(8 - hex.size(), '0') + hex : hex.substr(hex.size() - 8);
  }

 private:
  void Mix(uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001b3u; }
  uint64_t hash_ = 0xcbf29ce484222325u;
};

std::string ImageOf(const Inputs& inputs) {
  const std::string& own = inputs.deployment.spec.engine.image;
  return own.empty() ? inputs.images.engine : own;
}

Container EngineContainer(const Inputs& inputs) {
  Container c;
  c.name = "engine";
  c.image = ImageOf(inputs);
  c.args = inputs.deployment.spec.engine.args;
  c.env = EngineSettings(inputs);
  c.ports = {{"engine", inputs.placement.engine_port}};
  // kubelet cannot reach the engine's loopback: it asks the sidecar.
  c.startup_probe = HttpProbe{"/engine/startupz", "admin", 5, 360};
  c.liveness_probe = HttpProbe{"/engine/livez", "admin", 10, 3};
  c.pre_stop_path = "/drain";
  return c;
}

Container SidecarContainer(const Inputs& inputs, const std::string& revision) {
  Container c;
  c.name = "sidecar";
  c.image = inputs.images.sidecar;
  c.env = SidecarSettings(inputs, revision);
  c.ports = {{"http", kClientPort}, {"admin", kAdminPort}};
  c.startup_probe = HttpProbe{"/healthz", "admin", 1, 30};
  c.readiness_probe = HttpProbe{"/readyz", "admin", 2, 1};
  c.liveness_probe = HttpProbe{"/healthz", "admin", 10, 3};
  c.native_sidecar = true;
  return c;
}

Deployment DeploymentOf(const Inputs& inputs, const std::string& revision, const Labels& labels) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  Deployment d;
  d.name = StrCat(inputs.deployment.metadata.name, "-", revision);
  d.labels = labels;
  d.selector = {{"patella.dev/deployment", inputs.deployment.metadata.name}, {"patella.dev/revision", revision}};
  d.replicas = spec.replicas;
  d.pod.labels = spec.pod.labels;
  for (const auto& [name, value] : labels) d.pod.labels[name] = value;
  d.pod.annotations = spec.pod.annotations;
  d.pod.node_selector = spec.pod.node_selector;
  d.pod.containers = {SidecarContainer(inputs, revision), EngineContainer(inputs)};
  d.pod.termination_grace_seconds = spec.drain_max_seconds + 10;
  return d;
}

ConfigMap SettingsOf(const Inputs& inputs, const std::string& revision, const Labels& labels) {
  ConfigMap map;
  map.name = StrCat(inputs.deployment.metadata.name, "-", revision);
  map.labels = labels;
  map.immutable = true;
  for (const Env& env : EngineSettings(inputs)) map.settings[env.name] = env.value;
  map.settings["OBJECTIVES"] = ObjectivesJson(inputs.deployment.spec.objectives);
  return map;
}

Service ServiceOf(const Inputs& inputs, Labels labels) {
  Service service;
  service.name = inputs.deployment.metadata.name;
  labels.erase("patella.dev/revision");
  labels.erase("patella.dev/role");
  service.labels = labels;
  service.selector = {{"patella.dev/deployment", inputs.deployment.metadata.name}, {"patella.dev/role", "serving"}};
  service.ports = {{"http", kClientPort}};
  return service;
}

}  // namespace

std::string RevisionOf(const api::InferenceDeployment& deployment, const Images& images) {
  const api::InferenceDeploymentSpec& spec = deployment.spec;
  Hasher hash;
  hash.Add(spec.model.uri);
  hash.Add(api::NameOf(spec.engine.type));
  hash.Add(spec.engine.image.empty() ? images.engine : spec.engine.image);
  hash.Add(images.sidecar);
  hash.Add(StrCat(spec.tensor_parallel_size.value_or(0)));
  for (const std::string& accelerator : spec.hardware.accelerator_classes) hash.Add(accelerator);
  hash.Add("args");
  for (const std::string& arg : spec.engine.args) hash.Add(arg);
  hash.Add("env");
  for (const api::EnvVar& env : spec.engine.env) hash.Add(StrCat(env.name, "=", env.value));
  return hash.Digits();
}

Plan Reconcile(const Inputs& inputs, TimePoint) {
  const api::InferenceDeployment& deployment = inputs.deployment;
  Plan plan;
  plan.revision = RevisionOf(deployment, inputs.images);
  if (deployment.spec.paused) {
    plan.conditions.push_back({"Stalled", true, "Paused", "spec.paused is true: nothing is changed until it is false"});
    return plan;
  }
  const Labels labels = {{"app.kubernetes.io/managed-by", "patella"},
                         {"patella.dev/deployment", deployment.metadata.name},
                         {"patella.dev/revision", plan.revision},
                         {"patella.dev/role", "serving"}};
  plan.config_maps.push_back(SettingsOf(inputs, plan.revision, labels));
  plan.deployments.push_back(DeploymentOf(inputs, plan.revision, labels));
  plan.services.push_back(ServiceOf(inputs, labels));
  plan.conditions.push_back({"Stalled", false, "Planned", ""});
  return plan;
}

}  // namespace patella::reconcile
