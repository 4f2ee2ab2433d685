// Which accelerator class, and how many accelerators a replica: what a user who leaves them out gets. Pure.
//
// Theory alone (lib/science/plan.h) decides, once: a revision keeps the choice that it was made with, so that a changed price moves no pod.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "operator/reconcile/inputs.h"

namespace patella::reconcile {

struct Choice {
  std::string accelerator_class;  // "": no accelerator, the CPU
  std::string resource_name;
  Labels node_selector;
  int tensor_parallel_size = 1;
  std::string why;  // one sentence
  bool operator==(const Choice&) const = default;

  int accelerators() const { return accelerator_class.empty() ? 0 : tensor_parallel_size; }
};

// What cannot be had: reason and message of the condition Stalled.
struct Refusal {
  std::string reason;
  std::string message;
};

// Either a choice, or (`refusal->reason` set) why there is none.
Choice Choose(const Inputs& inputs, Refusal* refusal);

// The choice that an existing revision was made with. False if the spec does not allow it any more, or its class is gone.
bool Reuse(const Inputs& inputs, const std::string& accelerator_class, int tensor_parallel_size, Choice* choice);

const api::AcceleratorClass* FindClass(const Inputs& inputs, std::string_view name);  // null if there is none

// Accelerators on nodes that match, in all and on the largest node.
struct NodeCapacity {
  int nodes = 0;
  int64_t accelerators = 0;
  int64_t largest_node = 0;
};
NodeCapacity CapacityOf(const std::vector<NodeView>& nodes, const Labels& node_selector, const std::string& resource);

}  // namespace patella::reconcile
