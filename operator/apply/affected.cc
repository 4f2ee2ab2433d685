#include "operator/apply/affected.h"

#include "operator/apply/views.h"

namespace patella::apply {
namespace {

std::vector<kube::ObjectKey> AllOf(const kube::Cache& deployments) {
  std::vector<kube::ObjectKey> keys;
  for (const kube::ObjectPtr& object : deployments.List()) keys.push_back(object->key());
  return keys;
}

// A child that changes hands concerns both.
std::vector<kube::ObjectKey> OwnersOf(const kube::Change& change) {
  std::vector<kube::ObjectKey> keys;
  for (const kube::Object* object : {change.before.get(), change.after.get()}) {
    if (object == nullptr || object->controller_kind() != kube::kInferenceDeployments.kind) continue;
    kube::ObjectKey key{std::string(object->namespace_name()), std::string(object->controller_name())};
    if (keys.empty() || keys.back() != key) keys.push_back(std::move(key));
  }
  return keys;
}

}  // namespace

std::vector<kube::ObjectKey> AffectedBy(const kube::Change& change, const kube::Resource& resource,
                                        const kube::Cache& deployments) {
  if (resource.kind == kube::kInferenceDeployments.kind) return {change.object().key()};
  if (resource.kind == kube::kAcceleratorClasses.kind) return AllOf(deployments);
  if (resource.kind == kube::kNodes.kind) {
    // Nodes report every few minutes; only what they offer counts.
    const bool same =
        change.before != nullptr && change.after != nullptr && NodeFrom(*change.before) == NodeFrom(*change.after);
    return same ? std::vector<kube::ObjectKey>() : AllOf(deployments);
  }
  if (resource.kind == kube::kLeases.kind && change.kind != kube::Change::Kind::kDeleted) return {};
  return OwnersOf(change);
}

}  // namespace patella::apply
