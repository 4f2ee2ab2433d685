#include "lib/api/accelerator.h"

#include "lib/base/status_macros.h"

namespace patella::api {
namespace {

constexpr double kUsableShare = 0.92;
constexpr double kGbPerGib = 1.073741824;
constexpr int kDirectLinkGbps = 100;  // PCIe 5.0 ×16 gives 64, the slowest NVLink 200
constexpr char kInstanceLabel[] = "node.kubernetes.io/instance-type";

}  // namespace

absl::StatusOr<science::Accelerator> ToAccelerator(const AcceleratorClass& accelerator) {
  science::Accelerator out;
  out.name = accelerator.metadata.name;
  if (const auto it = accelerator.node_selector.find(kInstanceLabel); it != accelerator.node_selector.end())
    out.instance = it->second;
  out.memory_gb = accelerator.usable_memory_gb.empty() ? kUsableShare * kGbPerGib * accelerator.memory_gib
                                                       : ToDouble(accelerator.usable_memory_gb);
  out.bandwidth_gb_per_s = accelerator.memory_bandwidth_gbps;
  out.fp16_tflops = accelerator.fp16_tflops;
  out.nvlink = accelerator.interconnect_gbps >= kDirectLinkGbps;
  out.per_node = accelerator.accelerators_per_node;
  if (!accelerator.price_per_node_hour.empty()) {
    PATELLA_ASSIGN_OR_RETURN(out.price_per_node_hour, science::ParseMoney(accelerator.price_per_node_hour));
  }
  return out;
}

}  // namespace patella::api
