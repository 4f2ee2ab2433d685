// Constraints between fields: what a cluster checks with CEL, in the same words. Pure.
#pragma once

#include <string>
#include <vector>

#include "lib/api/accelerator_class.h"
#include "lib/api/inference_deployment.h"

namespace patella::api {

struct Violation {
  std::string path;     // "spec.scaling.maxReplicas"
  std::string message;  // what is wrong and what to do
};

std::vector<Violation> Validate(const InferenceDeployment& deployment);
std::vector<Violation> Validate(const AcceleratorClass& accelerator);

}  // namespace patella::api
