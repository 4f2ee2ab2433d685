// The custom resource InferenceDeployment: what a user wants of one model (spec), and what is (status).
//
// Decimals (quantiles, money) are strings as the user wrote them: see ToDouble. A std::optional or an empty string, list or map is a field
// that is not set. Made by `make generate` from v1alpha1/inferencedeployments.yaml, which says what every field means.
#pragma once

#include "lib/api/generated/inference_deployment.h"  // IWYU pragma: export
