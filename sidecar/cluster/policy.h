// What an InferenceDeployment asks of a replica, and may ask otherwise while it runs. A new replica reads the same from its settings
// (operator/reconcile/settings.h). What else is in the object only new pods follow: it is in the revision, or in the pod's template.
#pragma once

#include "lib/api/inference_deployment.h"
#include "lib/base/clock.h"
#include "sidecar/tuner/options.h"

namespace patella::sidecar {

struct ReplicaPolicy {
  TunerPolicy tuner;
  int queue_max_requests = 0;
  Duration queue_max_wait{};
  bool operator==(const ReplicaPolicy&) const = default;
};

ReplicaPolicy PolicyOf(const api::InferenceDeploymentSpec& spec);

}  // namespace patella::sidecar
