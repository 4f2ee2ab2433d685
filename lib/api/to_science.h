// What the resources' fields mean to lib/science: one reading for the operator, the sidecar and `patella plan`. Pure.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/api/accelerator_class.h"
#include "lib/api/inference_deployment.h"
#include "lib/science/capacity.h"
#include "lib/science/cost.h"
#include "lib/science/knee.h"
#include "lib/science/plan.h"
#include "lib/science/verdict.h"

namespace patella::api {

// Memory is usableMemoryGB, else 92 % of memoryGiB; from 100 GB/s on the interconnect counts as NVLink. A class without a price
// costs nothing.
science::Accelerator ToAccelerator(const AcceleratorClass& accelerator);

// spec.model.shape if it is complete, else the catalogue's by spec.model.name. NotFound says what to give.
absl::StatusOr<science::ModelShape> ToModelShape(const ModelSpec& model);

std::vector<science::Target> ToTargets(const ObjectivesSpec& objectives);

science::KneeDefinition ToKneeDefinition(KneeDefinition definition);
double ToKneeUtilization(const KneeObjective& knee);  // of the top throughput; science's default where it is not given

// Dollars; what is below a millionth of one is dropped. Nothing where the field is absent.
std::optional<science::Money> ToMoney(const Decimal& dollars);

// The lesser of spec.hardware.maxAcceleratorsPerReplica and maxAccelerators; 0: no bound.
int MostAcceleratorsPerReplica(const InferenceDeploymentSpec& spec);

// Everything that the spec says of `shape`'s deployment; the caller adds the accelerators to choose from.
science::PlanInputs ToPlanInputs(const InferenceDeploymentSpec& spec, science::ModelShape shape);

}  // namespace patella::api
