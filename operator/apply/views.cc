#include "operator/apply/views.h"

#include <nlohmann/json.hpp>

#include "lib/base/text.h"

namespace patella::apply {
namespace {

using nlohmann::json;

json Parsed(const kube::Object& object) {
  json out = json::parse(object.json(), nullptr, /*allow_exceptions=*/false);
  return out.is_object() ? out : json::object();
}

// The value at a path of object keys; null if there is none.
const json& At(const json& from, std::initializer_list<const char*> path) {
  static const json kNull;
  const json* at = &from;
  for (const char* key : path) {
    if (!at->is_object()) return kNull;
    const auto found = at->find(key);
    if (found == at->end()) return kNull;
    at = &*found;
  }
  return *at;
}

std::string TextAt(const json& from, std::initializer_list<const char*> path) {
  const json& value = At(from, path);
  return value.is_string() ? value.get<std::string>() : "";
}

int64_t IntAt(const json& from, std::initializer_list<const char*> path, int64_t fallback = 0) {
  const json& value = At(from, path);
  if (value.is_number_integer()) return value.get<int64_t>();
  int64_t parsed = 0;
  return value.is_string() && ParseInt(value.get<std::string>(), &parsed) ? parsed : fallback;
}

std::string Annotation(const json& object, const char* name) {
  return TextAt(object, {"metadata", "annotations", name});
}

const json& ContainerNamed(const json& list, const std::string& name) {
  static const json kNull;
  if (!list.is_array()) return kNull;
  for (const json& item : list) {
    if (TextAt(item, {"name"}) == name) return item;
  }
  return kNull;
}

void ReadConditions(const json& conditions, reconcile::RevisionView* view) {
  if (!conditions.is_array()) return;
  for (const json& c : conditions) {
    const std::string type = TextAt(c, {"type"}), status = TextAt(c, {"status"}), reason = TextAt(c, {"reason"});
    const bool stuck = type == "Progressing" && status == "False" && reason == "ProgressDeadlineExceeded";
    const bool refused = type == "ReplicaFailure" && status == "True";
    if (stuck) view->failed = true;
    // Why pods cannot be made (a quota, an admission policy) says more than that they were not.
    if (refused || (stuck && view->failure.empty())) view->failure = TextAt(c, {"message"});
  }
}

}  // namespace

absl::StatusOr<api::InferenceDeployment> DeploymentFrom(const kube::Object& object) {
  return api::ParseStored<api::InferenceDeployment>(object.json());
}

absl::StatusOr<api::AcceleratorClass> AcceleratorClassFrom(const kube::Object& object) {
  return api::ParseStored<api::AcceleratorClass>(object.json());
}

std::string AnnotationOf(const kube::Object& object, const std::string& name) {
  return Annotation(Parsed(object), name.c_str());
}

reconcile::RevisionView RevisionFrom(const kube::Object& deployment) {
  const json object = Parsed(deployment);
  reconcile::RevisionView view;
  view.name = std::string(deployment.name());
  view.uid = std::string(deployment.uid());
  view.hash = std::string(deployment.label(reconcile::kRevisionLabel));
  for (const reconcile::Role role : {reconcile::Role::kServing, reconcile::Role::kTrial, reconcile::Role::kRetiring}) {
    if (deployment.label(reconcile::kRoleLabel) == reconcile::LabelOf(role)) view.role = role;
  }
  const json& pod = At(object, {"spec", "template", "spec"});
  const json& engine = ContainerNamed(At(pod, {"containers"}), "engine");
  view.images.engine = TextAt(engine, {"image"});
  view.images.sidecar = TextAt(ContainerNamed(At(pod, {"initContainers"}), "sidecar"), {"image"});
  view.accelerator_class = Annotation(object, reconcile::kClassAnnotation);
  int64_t degree = 1, version = 0;
  if (ParseInt(Annotation(object, reconcile::kTensorParallelAnnotation), &degree))
    view.tensor_parallel_size = static_cast<int>(degree);
  if (ParseInt(Annotation(object, reconcile::kPodVersionAnnotation), &version))
    view.pod_version = static_cast<int>(version);
  view.accelerators = view.accelerator_class.empty() ? 0 : view.tensor_parallel_size;
  view.wanted = static_cast<int>(IntAt(object, {"spec", "replicas"}, 1));
  view.present =
      static_cast<int>(IntAt(object, {"status", "replicas"}) + IntAt(object, {"status", "terminatingReplicas"}));
  view.ready = static_cast<int>(IntAt(object, {"status", "readyReplicas"}));
  view.updated = static_cast<int>(IntAt(object, {"status", "updatedReplicas"}));
  view.observed = IntAt(object, {"status", "observedGeneration"}) >= deployment.generation();
  view.deleting = deployment.deleting();
  ReadConditions(At(object, {"status", "conditions"}), &view);
  return view;
}

reconcile::NodeView NodeFrom(const kube::Object& node) {
  const json object = Parsed(node);
  reconcile::NodeView view;
  view.name = std::string(node.name());
  for (const auto& [name, value] : node.labels()) view.labels[std::string(name)] = std::string(value);
  view.schedulable = At(object, {"spec", "unschedulable"}) != json(true);
  const json& allocatable = At(object, {"status", "allocatable"});
  if (!allocatable.is_object()) return view;
  for (const auto& [name, amount] : allocatable.items()) {
    int64_t whole = 0;
    if (name.find('/') != std::string::npos && amount.is_string() && ParseInt(amount.get<std::string>(), &whole))
      view.allocatable[name] = whole;
  }
  return view;
}

}  // namespace patella::apply
