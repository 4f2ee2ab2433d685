#include "operator/render/pod_json.h"

namespace patella::render {
namespace {

using nlohmann::json;
using reconcile::Container;
using reconcile::Env;
using reconcile::HttpProbe;
using reconcile::Mount;
using reconcile::PodTemplate;
using reconcile::Port;
using reconcile::Volume;

constexpr int kUser = 65532;  // "nonroot" of distroless images; any number but 0 would do
constexpr int kTokenSeconds = 3600;
constexpr int kAdminPort = 8081;

// A part that the user wrote; the parser has checked that it is JSON.
json UserJson(const std::string& text) {
  json value = text.empty() ? json() : json::parse(text, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? json() : value;
}

json EnvJson(const Env& env) {
  json out = {{"name", env.name}};
  switch (env.source) {
    case Env::Source::kValue:
      out["value"] = env.value;
      break;
    case Env::Source::kField:
      out["valueFrom"]["fieldRef"] = {{"apiVersion", "v1"}, {"fieldPath", env.value}};
      break;
    case Env::Source::kSecret:
      out["valueFrom"]["secretKeyRef"] = {{"name", env.object}, {"key", env.key}};
      break;
    case Env::Source::kConfigMap:
      out["valueFrom"]["configMapKeyRef"] = {{"name", env.object}, {"key", env.key}};
      break;
  }
  return out;
}

json ProbeJson(const HttpProbe& probe) {
  return {{"httpGet", {{"path", probe.path}, {"port", probe.port}, {"scheme", "HTTP"}}},
          {"periodSeconds", probe.period_seconds},
          {"failureThreshold", probe.failure_threshold},
          {"timeoutSeconds", probe.timeout_seconds}};
}

json ResourcesJson(const Container& c) {
  json out = UserJson(c.resources);
  if (!out.is_object()) out = json::object();
  // The user's own win over defaults; what the engine computes on is the plan's.
  for (const auto& [name, quantity] : c.requests) {
    if (!out["requests"].contains(name)) out["requests"][name] = quantity;
  }
  for (const auto& [name, quantity] : c.limits) {
    out["limits"][name] = quantity;
    if (c.name == "engine") out["requests"][name] = quantity;
  }
  return out;
}

// What Pod Security's "restricted" asks of each container.
json SecurityJson(const Container& c) {
  return {{"allowPrivilegeEscalation", false},
          {"capabilities", {{"drop", {"ALL"}}}},
          {"readOnlyRootFilesystem", c.read_only_root},
          {"runAsNonRoot", true}};
}

json ContainerJson(const Container& c) {
  json out = {{"name", c.name}, {"image", c.image}, {"securityContext", SecurityJson(c)}};
  if (!c.args.empty()) out["args"] = c.args;
  for (const std::string& name : c.env_from) out["envFrom"].push_back({{"configMapRef", {{"name", name}}}});
  for (const Env& env : c.env) out["env"].push_back(EnvJson(env));
  for (const Port& port : c.ports) {
    out["ports"].push_back({{"name", port.name}, {"containerPort", port.number}, {"protocol", "TCP"}});
  }
  for (const Mount& mount : c.mounts) {
    json item = {{"name", mount.volume}, {"mountPath", mount.path}};
    if (mount.read_only) item["readOnly"] = true;
    out["volumeMounts"].push_back(item);
  }
  if (const json own = UserJson(c.user_mounts); own.is_array()) {
    for (const json& mount : own) out["volumeMounts"].push_back(mount);
  }
  if (const json resources = ResourcesJson(c); !resources.empty()) out["resources"] = resources;
  if (c.startup_probe) out["startupProbe"] = ProbeJson(*c.startup_probe);
  if (c.readiness_probe) out["readinessProbe"] = ProbeJson(*c.readiness_probe);
  if (c.liveness_probe) out["livenessProbe"] = ProbeJson(*c.liveness_probe);
  if (!c.pre_stop_path.empty()) {
    out["lifecycle"]["preStop"]["httpGet"] = {{"path", c.pre_stop_path}, {"port", kAdminPort}, {"scheme", "HTTP"}};
  }
  if (c.native_sidecar) out["restartPolicy"] = "Always";
  return out;
}

// The service account's token where programs look for it, but in one container alone.
json TokenVolume() {
  const json token = {{"serviceAccountToken", {{"path", "token"}, {"expirationSeconds", kTokenSeconds}}}};
  const json ca = {{"configMap", {{"name", "kube-root-ca.crt"}, {"items", {{{"key", "ca.crt"}, {"path", "ca.crt"}}}}}}};
  const json field = {{"path", "namespace"}, {"fieldRef", {{"apiVersion", "v1"}, {"fieldPath", "metadata.namespace"}}}};
  return {{"projected", {{"sources", {token, ca, {{"downwardAPI", {{"items", json::array({field})}}}}}}}}};
}

json VolumeJson(const Volume& volume) {
  json out = json::object();
  switch (volume.kind) {
    case Volume::Kind::kEmptyDir:
      out["emptyDir"] = volume.source.empty() ? json::object() : json{{"medium", volume.source}};
      break;
    case Volume::Kind::kClaim:
      out["persistentVolumeClaim"] = {{"claimName", volume.source}, {"readOnly", true}};
      break;
    case Volume::Kind::kImage:
      out["image"] = {{"reference", volume.source}, {"pullPolicy", "IfNotPresent"}};
      break;
    case Volume::Kind::kHostPath:
      out["hostPath"] = {{"path", volume.source}, {"type", "Directory"}};
      break;
    case Volume::Kind::kSecret:
      out["secret"] = {{"secretName", volume.source}};
      break;
    case Volume::Kind::kToken:
      out = TokenVolume();
      break;
  }
  out["name"] = volume.name;
  return out;
}

void AddUserFields(const reconcile::UserPodFields& user, json* spec) {
  const auto add = [spec](const char* name, const std::string& text) {
    if (json value = UserJson(text); !value.is_null() && !value.empty()) (*spec)[name] = std::move(value);
  };
  add("tolerations", user.tolerations);
  add("affinity", user.affinity);
  add("topologySpreadConstraints", user.topology_spread_constraints);
  add("imagePullSecrets", user.image_pull_secrets);
  if (!user.priority_class_name.empty()) (*spec)["priorityClassName"] = user.priority_class_name;
  const json own = UserJson(user.volumes);
  if (!own.is_array()) return;
  for (const json& volume : own) (*spec)["volumes"].push_back(volume);
}

}  // namespace

json PodJson(const PodTemplate& pod) {
  json metadata = {{"labels", pod.labels}};
  if (!pod.annotations.empty()) metadata["annotations"] = pod.annotations;
  json spec = {{"serviceAccountName", pod.service_account},
               {"automountServiceAccountToken", false},
               {"enableServiceLinks", false},
               {"terminationGracePeriodSeconds", pod.termination_grace_seconds},
               {"securityContext",
                {{"runAsNonRoot", true},
                 {"runAsUser", kUser},
                 {"runAsGroup", kUser},
                 {"fsGroup", kUser},
                 {"seccompProfile", {{"type", "RuntimeDefault"}}}}}};
  if (!pod.node_selector.empty()) spec["nodeSelector"] = pod.node_selector;
  for (const Container& c : pod.containers) {
    spec[c.native_sidecar ? "initContainers" : "containers"].push_back(ContainerJson(c));
  }
  for (const Volume& volume : pod.volumes) spec["volumes"].push_back(VolumeJson(volume));
  AddUserFields(pod.user, &spec);
  return {{"metadata", metadata}, {"spec", spec}};
}

}  // namespace patella::render
