#include "operator/reconcile/pod.h"

#include <algorithm>

#include "lib/base/text.h"
#include "operator/reconcile/settings.h"

namespace patella::reconcile {
namespace {

constexpr int kProbePeriod = 5;
constexpr int kGraceMargin = 30;  // after the drain: the engine's own end, then the sidecar's
constexpr char kTokenPath[] = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr char kPeersPath[] = "/etc/patella/peers";

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

Container EngineContainer(const PodInputs& in) {
  const Inputs& inputs = in.inputs;
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  const bool own = spec.engine.type == api::EngineType::kPatella;
  const std::string name = NameOf(inputs, in.revision);
  Container c;
  c.name = "engine";
  c.image = in.images.engine;
  c.args = EngineArgs(inputs, in.choice, in.model.model_id);
  c.env_from = {name};
  const auto named = [](const api::EnvVar& e) { return e.name == "MAX_CONCURRENT_REQUESTS"; };
  if (std::none_of(spec.engine.env.begin(), spec.engine.env.end(), named)) {
    c.env.push_back({.name = "MAX_CONCURRENT_REQUESTS",
                     .source = Env::Source::kConfigMap,
                     .object = LimitsName(name),
                     .key = kEngineCeiling});
  }
  c.env.insert(c.env.end(), in.model.env.begin(), in.model.env.end());
  if (!own) c.env.push_back({"HOME", "/tmp"});
  c.ports = {{"engine", inputs.placement.engine_port}};
  if (in.model.volume) c.mounts.push_back({"model", "/models", in.model.read_only});
  if (own) c.mounts.push_back({"run", FolderOf(inputs.placement.control_socket)});
  c.mounts.push_back({"tmp", "/tmp"});
  if (in.choice.accelerators() > 1) c.mounts.push_back({"shm", "/dev/shm"});
  c.read_only_root = own;
  c.resources = spec.pod.resources;
  c.user_mounts = spec.pod.volume_mounts;
  if (in.choice.accelerators() > 0 && !in.choice.resource_name.empty())  // a class of CPUs asks for none
    c.limits[in.choice.resource_name] = StrCat(in.choice.accelerators());
  const int start = EngineStartSeconds(spec.model);
  // kubelet cannot reach the engine's loopback: it asks the sidecar.
  c.startup_probe = HttpProbe{"/engine/startupz", kAdminPort, kProbePeriod, start / kProbePeriod};
  c.liveness_probe = HttpProbe{"/engine/livez", kAdminPort, 10, 3};
  c.pre_stop_path = "/drain";
  return c;
}

Container SidecarContainer(const PodInputs& in) {
  const Inputs& inputs = in.inputs;
  Container c;
  c.name = "sidecar";
  c.image = in.images.sidecar;
  c.env_from = {LimitsName(NameOf(inputs, in.revision))};
  c.env = SidecarSettings(inputs, in.revision);
  c.ports = {{"http", kClientPort}, {"admin", kAdminPort}, {"peers", kPeerPort}};
  if (inputs.deployment.spec.engine.type == api::EngineType::kPatella)
    c.mounts.push_back({"run", FolderOf(inputs.placement.control_socket)});
  c.mounts.push_back({"state", inputs.placement.state_dir});
  c.mounts.push_back({"peers", kPeersPath, true});
  c.mounts.push_back({"token", kTokenPath, true});
  c.requests = {{"cpu", "100m"}, {"memory", "64Mi"}};
  c.limits = {{"memory", "256Mi"}};
  c.startup_probe = HttpProbe{"/healthz", kAdminPort, 1, 30};
  c.readiness_probe = HttpProbe{"/readyz", kAdminPort, 2, 1};
  c.liveness_probe = HttpProbe{"/healthz", kAdminPort, 10, 3};
  c.native_sidecar = true;
  return c;
}

std::vector<Volume> VolumesOf(const PodInputs& in) {
  using Kind = Volume::Kind;
  std::vector<Volume> volumes;
  if (in.model.volume) volumes.push_back(*in.model.volume);
  if (in.inputs.deployment.spec.engine.type == api::EngineType::kPatella)
    volumes.push_back({"run", Kind::kEmptyDir, ""});
  volumes.push_back({"state", Kind::kEmptyDir, ""});
  volumes.push_back({"tmp", Kind::kEmptyDir, ""});
  if (in.choice.accelerators() > 1) volumes.push_back({"shm", Kind::kEmptyDir, "Memory"});
  volumes.push_back({"peers", Kind::kSecret, NameOf(in.inputs, "peers")});
  volumes.push_back({"token", Kind::kToken, ""});
  return volumes;
}

}  // namespace

std::string NameOf(const Inputs& inputs, std::string_view suffix) {
  return StrCat(inputs.deployment.metadata.name, "-", suffix);
}

std::string LimitsName(const std::string& revision_name) { return StrCat(revision_name, "-limits"); }

PodTemplate PodOf(const PodInputs& in) {
  const api::PodSpec& own = in.inputs.deployment.spec.pod;
  PodTemplate pod;
  pod.labels = own.labels;
  for (const auto& [name, value] : in.labels) pod.labels[name] = value;
  pod.labels[kRoleLabel] = LabelOf(Role::kServing);
  pod.annotations = own.annotations;
  pod.node_selector = own.node_selector;
  for (const auto& [name, value] : in.choice.node_selector) pod.node_selector[name] = value;
  pod.containers = {SidecarContainer(in), EngineContainer(in)};
  pod.volumes = VolumesOf(in);
  pod.service_account = own.service_account_name.empty() ? NameOf(in.inputs, "autotuner") : own.service_account_name;
  pod.user = {own.tolerations,        own.affinity, own.topology_spread_constraints,
              own.image_pull_secrets, own.volumes,  own.priority_class_name};
  pod.termination_grace_seconds = in.inputs.deployment.spec.drain_max_seconds + kGraceMargin;
  return pod;
}

}  // namespace patella::reconcile
