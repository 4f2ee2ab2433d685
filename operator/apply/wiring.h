// What makes a Reconciler run: a cache for each kind, a queue, workers. The same on a cluster and in `patella up`.
#pragma once

#include <memory>

#include "lib/kube/controller.h"
#include "operator/apply/reconciler.h"

namespace patella::apply {

// Adds the caches and one controller, named inferencedeployment, to a manager that has not started. The manager is stopped before
// the reconciler is destroyed; client and clock outlive both.
std::unique_ptr<Reconciler> AddReconciler(kube::Manager& manager, kube::Client* client, const Clock& clock, int workers,
                                          ReconcilerOptions options);

}  // namespace patella::apply
