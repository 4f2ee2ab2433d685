// The election of the sidecar that publishes: one a deployment, over all its revisions, by the Lease that the operator makes.
#pragma once

#include <string>

#include "lib/base/text.h"
#include "lib/kube/lease.h"

namespace patella::sidecar {

// Renewed every 15 s: one write per deployment and quarter of a minute is what an API server bears with thousands of them.
inline kube::LeaseSettings ElectionOf(const std::string& namespace_name, const std::string& deployment,
                                      const std::string& pod) {
  return {.namespace_name = namespace_name,
          .name = StrCat(deployment, "-autotuner"),
          .identity = kube::MakeIdentity(pod),
          .duration = std::chrono::seconds(45),
          .renew_deadline = std::chrono::seconds(40),
          .retry_period = std::chrono::seconds(15),
          .may_create = false,  // the operator makes it; our rights end at its name
          .watch = true};
}

}  // namespace patella::sidecar
