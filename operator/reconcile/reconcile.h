// From wish to children: the pure heart of the operator, which local mode runs too.
#pragma once

#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "operator/reconcile/choice.h"
#include "operator/reconcile/inputs.h"
#include "operator/reconcile/plan.h"

namespace patella::reconcile {

// Never fails: what cannot be served is a condition Stalled with the reason, and the children stay as they are.
Plan Reconcile(const Inputs& inputs, TimePoint now);

// What makes pods unlike: model, engine image, arguments and environment, accelerator class, tensor parallelism, resources, sidecar image,
// and the layout of the pod. Eight hexadecimal digits.
std::string RevisionOf(const api::InferenceDeployment& deployment, const Images& images, const Choice& choice,
                       int pod_version = kPodVersion);

}  // namespace patella::reconcile
