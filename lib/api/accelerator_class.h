// The custom resource AcceleratorClass (cluster-scoped): what an accelerator and its node are, and cost. Made by `make generate` from
// v1alpha1/acceleratorclasses.yaml, which says what every field means.
#pragma once

#include "lib/api/generated/accelerator_class.h"  // IWYU pragma: export
