// Objects of the API server as reconcile's inputs. Pure.
//
// What is missing or of another shape reads as empty: these are objects that the API server has checked.
#pragma once

#include "absl/status/statusor.h"
#include "lib/api/parse.h"
#include "lib/kube/object.h"
#include "operator/reconcile/inputs.h"

namespace patella::apply {

// InvalidArgument says what the API server let through and this operator cannot work with. Fields that it does not know are ignored.
absl::StatusOr<api::InferenceDeployment> DeploymentFrom(const kube::Object& object);
absl::StatusOr<api::AcceleratorClass> AcceleratorClassFrom(const kube::Object& object);

reconcile::RevisionView RevisionFrom(const kube::Object& deployment);

// Whole amounts of extended resources (with a domain in their name) that the node offers.
reconcile::NodeView NodeFrom(const kube::Object& node);

std::string AnnotationOf(const kube::Object& object, const std::string& name);  // "" if absent

}  // namespace patella::apply
