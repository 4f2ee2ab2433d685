// Constraints between fields: what a cluster checks with CEL, in the same words; tools/generate_api.py
// refuses a CEL rule whose message is not given here. Pure.
#pragma once

#include <string>
#include <vector>

#include "lib/api/accelerator_class.h"
#include "lib/api/inference_deployment.h"
#include "lib/api/serving_curve.h"

namespace patella::api {

struct Violation {
  std::string path;     // "spec.scaling.maxReplicas"
  std::string message;  // what is wrong and what to do
};

std::vector<Violation> Validate(const InferenceDeployment& deployment);
std::vector<Violation> Validate(const AcceleratorClass& accelerator);
std::vector<Violation> Validate(const ServingCurve& curve);

}  // namespace patella::api
