#include "operator/app/preflight.h"

#include <nlohmann/json.hpp>

#include "lib/base/text.h"
#include "operator/apply/reconciler.h"

namespace patella::controller {
namespace {

using nlohmann::json;

// Newest fields of each part: a schema that has these has the rest.
constexpr const char* kNeeded[] = {"spec.model.uri",           "spec.hardware.maxAccelerators",
                                   "spec.scaling.maxReplicas", "spec.drain.maxSeconds",
                                   "spec.updatePolicy",        "spec.pod.resources",
                                   "status.conditions",        "status.revisions",
                                   "status.selector",          "status.replicaSummary"};

// The properties of a schema, through the wrapper that allOf is.
const json& Property(const json& schema, const std::string& name) {
  static const json kNull;
  if (!schema.is_object()) return kNull;
  if (const auto properties = schema.find("properties"); properties != schema.end() && properties->contains(name))
    return (*properties)[name];
  if (const auto all = schema.find("allOf"); all != schema.end() && all->is_array() && all->size() == 1)
    return Property((*all)[0], name);
  return kNull;
}

bool HasPath(const json& schema, std::string_view path) {
  const json* at = &schema;
  for (const std::string_view name : Split(path, '.')) {
    at = &Property(*at, std::string(name));
    if (at->is_null()) return false;
    if (at->value("x-kubernetes-preserve-unknown-fields", false)) return true;
  }
  return true;
}

absl::Status Mended(const absl::Status& status, const kube::Resource& resource) {
  if (kube::IsNotFound(status) && resource.group == kube::kInferenceDeployments.group) {
    return absl::NotFoundError(StrCat("the API server does not know ", kube::QualifiedName(resource),
                                      ": install the custom resource definitions (kubectl apply --server-side -f "
                                      "deploy/crds, or the chart with crds.enabled)"));
  }
  if (kube::IsForbidden(status)) {
    return absl::PermissionDeniedError(StrCat(ToStd(status.message()),
                                              ". The operator needs the rules of "
                                              "deploy/rbac/operator-rules.yaml (the chart with rbac.create)"));
  }
  if (kube::IsUnauthorized(status)) {
    return absl::UnauthenticatedError(StrCat(
        ToStd(status.message()), ". The token or client certificate is not valid (expired, or of another cluster)"));
  }
  return status;
}

}  // namespace

const std::vector<kube::Resource>& WatchedResources() {
  static const std::vector<kube::Resource> kAll = [] {
    std::vector<kube::Resource> all = {kube::kInferenceDeployments, kube::kAcceleratorClasses, kube::kNodes};
    for (const kube::Resource& child : apply::ChildResources()) all.push_back(child);
    return all;
  }();
  return kAll;
}

std::vector<std::string> MissingFields(const std::string& openapi_json) {
  std::vector<std::string> missing;
  const json root = json::parse(openapi_json, nullptr, /*allow_exceptions=*/false);
  const json schemas =
      root.is_object() ? root.value("components", json::object()).value("schemas", json::object()) : json();
  for (const auto& [name, schema] : schemas.items()) {
    if (!name.ends_with(".v1alpha1.InferenceDeployment")) continue;
    for (const char* path : kNeeded) {
      if (!HasPath(schema, path)) missing.emplace_back(path);
    }
    return missing;
  }
  return {kNeeded[0]};
}

absl::Status Preflight(kube::RestClient& client, const std::vector<std::string>& namespaces) {
  for (const kube::Resource& resource : WatchedResources()) {
    std::vector<std::string> where = resource.namespaced ? namespaces : std::vector<std::string>{};
    if (where.empty()) where = {""};
    for (const std::string& name : where) {
      const auto page = client.List(resource, {.namespace_name = name, .limit = 1});
      if (!page.ok()) return Mended(page.status(), resource);
    }
  }
  const absl::StatusOr<std::string> schema = client.Raw("GET", "/openapi/v3/apis/patella.dev/v1alpha1");
  if (!schema.ok()) return absl::OkStatus();  // servers may keep it to themselves; what is missing will be told by them
  if (const std::vector<std::string> missing = MissingFields(*schema); !missing.empty()) {
    return absl::FailedPreconditionError(
        StrCat("the custom resource definition inferencedeployments.patella.dev is older than this operator: it lacks ",
               Join(missing, ", "), ". Update it: kubectl apply --server-side -f deploy/crds"));
  }
  return absl::OkStatus();
}

}  // namespace patella::controller
