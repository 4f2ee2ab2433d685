// Objects to YAML: required fields and what differs from the defaults, in the schema's order. Parse(Print(x)) gives x again. Pure.
#pragma once

#include <string>

#include "lib/api/accelerator_class.h"
#include "lib/api/inference_deployment.h"

namespace patella::api {

std::string Print(const InferenceDeployment& deployment);
std::string Print(const AcceleratorClass& accelerator);

}  // namespace patella::api
