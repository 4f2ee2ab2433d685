// From the AcceleratorClass of a cluster to the accelerator that the planner knows, so that both plan alike. Pure.
#pragma once

#include "absl/status/statusor.h"
#include "lib/api/accelerator_class.h"
#include "lib/science/capacity.h"

namespace patella::api {

// Memory is usableMemoryGB, else 92 % of memoryGiB; from 100 GB/s on the interconnect counts as NVLink. A class without a price costs
// nothing. InvalidArgument if the price has more decimals than money has.
absl::StatusOr<science::Accelerator> ToAccelerator(const AcceleratorClass& accelerator);

}  // namespace patella::api
