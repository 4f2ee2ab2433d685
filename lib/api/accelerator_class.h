// The custom resource AcceleratorClass (cluster-scoped): what an accelerator and its node are, and cost. Values; thread-compatible.
#pragma once

#include "lib/api/inference_deployment.h"

namespace patella::api {

struct AcceleratorClass {
  Metadata metadata;
  int memory_gib = 0;
  int memory_bandwidth_gbps = 0;  // GB/s
  int fp16_tflops = 0;
  int interconnect_gbps = 0;  // GB/s between accelerators of one node; 0: none
  int accelerators_per_node = 1;
  std::string resource_name = "nvidia.com/gpu";
  StringMap node_selector;
  Decimal price_per_node_hour;
  bool operator==(const AcceleratorClass&) const = default;
};

}  // namespace patella::api
