#include "sidecar/cluster/write.h"

#include "lib/api/print.h"
#include "lib/base/logging.h"
#include "lib/kube/api_error.h"

namespace patella::sidecar {

absl::Status WritePublication(kube::Client& client, const api::InferenceDeployment& object, const Publication& out,
                              Publisher& publisher) {
  const api::Metadata& meta = object.metadata;
  absl::Status problem = absl::OkStatus();
  if (out.replicas) {
    const absl::Status scaled = client
                                    .SetScale(kube::kInferenceDeployments, meta.namespace_name, meta.name,
                                              *out.replicas, meta.resource_version, {.manager = kAutotuner})
                                    .status();
    publisher.Scaled(scaled.ok());
    if (scaled.ok()) {
      LogInfo("scaled", {{"from", object.spec.replicas}, {"to", *out.replicas}});
    } else if (!kube::IsConflict(scaled)) {
      problem = scaled;
    }
  }
  if (out.status) {
    const absl::Status applied = client
                                     .Apply(kube::kInferenceDeployments, meta.namespace_name, meta.name,
                                            api::PrintStatusApply(meta, *out.status),
                                            {.manager = kAutotuner, .force = true, .subresource = "status"})
                                     .status();
    if (!applied.ok()) {
      publisher.Failed();
      problem.Update(applied);
    }
  }
  return problem;
}

}  // namespace patella::sidecar
