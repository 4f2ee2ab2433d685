// The operator inside `patella up`: its controller over a store in this process, and what it made of one InferenceDeployment.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/api/inference_deployment.h"
#include "operator/reconcile/inputs.h"

namespace patella::cli {

// What a container of the planned pod is started with, as kubelet would: arguments, and "NAME=value" from env and ConfigMaps.
struct ContainerStart {
  std::vector<std::string> args, environment;
};

class LocalStore {
 public:
  // Applies the object, runs the controller, and waits until it has made a Deployment. FailedPrecondition: it never will, with the
  // condition Stalled's reason.
  static absl::StatusOr<std::unique_ptr<LocalStore>> Start(const api::InferenceDeployment& deployment,
                                                           const reconcile::Placement& placement);
  ~LocalStore();

  absl::StatusOr<ContainerStart> Container(const std::string& name) const;  // NotFound: no such container
  void ReportPod(bool ready);                            // the Deployment's status, as its controller would
  std::string Condition(const std::string& type) const;  // "True: Serving: 1 of 1 replica ready"; "" without one

 private:
  struct Impl;
  explicit LocalStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::cli
