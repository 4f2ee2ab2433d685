// Which InferenceDeployments a change of something watched concerns. Pure.
#pragma once

#include <vector>

#include "lib/kube/cache.h"

namespace patella::apply {

// A child concerns its controller; a node or an AcceleratorClass concerns all in `deployments`, if what it offers changed. A Lease
// that changes is a renewal, which is nothing to us; that it is gone is.
std::vector<kube::ObjectKey> AffectedBy(const kube::Change& change, const kube::Resource& resource,
                                        const kube::Cache& deployments);

}  // namespace patella::apply
