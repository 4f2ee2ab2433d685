#include "operator/app/preflight.h"

#include "lib/api/schema_check.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "operator/apply/reconciler.h"

namespace patella::controller {
namespace {

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

// What the API server publishes against what this program was built with. A server may keep that to itself: then what is
// missing shows when it is used.
absl::Status CheckDefinitions(kube::RestClient& client) {
  const absl::StatusOr<std::string> schemas = client.Raw("GET", api::kSchemasPath);
  // A server that has just forgotten the last definition of a group answers with nothing for a moment.
  if (schemas.ok()) return api::CheckSchemas(schemas->empty() ? "{}" : *schemas);
  if (kube::IsNotFound(schemas.status())) return api::CheckSchemas("{}");
  if (kube::IsForbidden(schemas.status())) return absl::OkStatus();
  return Mended(schemas.status(), kube::kInferenceDeployments);
}

absl::Status CheckList(kube::RestClient& client, const std::vector<std::string>& namespaces,
                       const kube::Resource& resource, const std::string& selector) {
  std::vector<std::string> where = resource.namespaced ? namespaces : std::vector<std::string>{};
  if (where.empty()) where = {""};
  for (const std::string& name : where) {
    const auto page = client.List(resource, {.namespace_name = name, .label_selector = selector, .limit = 1});
    if (!page.ok()) return Mended(page.status(), resource);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Preflight(kube::RestClient& client, const std::vector<std::string>& namespaces) {
  PATELLA_RETURN_IF_ERROR(CheckDefinitions(client));
  for (const kube::Resource& resource : {kube::kInferenceDeployments, kube::kAcceleratorClasses, kube::kNodes})
    PATELLA_RETURN_IF_ERROR(CheckList(client, namespaces, resource, ""));
  for (const kube::Resource& child : apply::ChildResources())
    PATELLA_RETURN_IF_ERROR(CheckList(client, namespaces, child, apply::ChildSelector()));
  return absl::OkStatus();
}

}  // namespace patella::controller
