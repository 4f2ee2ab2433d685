// Objects to text: required fields and what differs from the defaults, in the schema's order. Parse(Print(x)) gives x again. Pure.
#pragma once

#include <string>

#include "lib/api/accelerator_class.h"
#include "lib/api/inference_deployment.h"
#include "lib/api/serving_curve.h"

namespace patella::api {

// YAML for people, without status and without what the API server added to metadata.
std::string Print(const InferenceDeployment& deployment);
std::string Print(const AcceleratorClass& accelerator);
std::string Print(const ServingCurve& curve);

// The same as JSON on one line for the API server: body of a create, of an apply, or (with metadata.resource_version set) of a replace.
std::string PrintJson(const InferenceDeployment& deployment);
std::string PrintJson(const AcceleratorClass& accelerator);
std::string PrintJson(const ServingCurve& curve);

// The body of a server-side apply to /status: apiVersion, kind, name, namespace, and of `status` only what is set. A field that the
// manager owned and that is not set here is taken away by the server, so each writer passes all that is its own, every time.
// Free text and plain lists (decisions, nearestFeasible, alternatives) are cut to what the schema allows, because the server refuses a
// status as a whole. Figures go through ToDecimal.
std::string PrintStatusApply(const Metadata& metadata, const InferenceDeploymentStatus& status);

// The status alone, as JSON with only what is set: to compare and to log.
std::string PrintJson(const InferenceDeploymentStatus& status);

}  // namespace patella::api
