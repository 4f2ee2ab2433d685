#include "operator/reconcile/choice.h"

#include <algorithm>

#include "lib/api/to_science.h"
#include "lib/base/text.h"
#include "lib/science/plan.h"

namespace patella::reconcile {
namespace {

Choice ChoiceOf(const api::AcceleratorClass& c, int tensor_parallel_size, std::string why) {
  return {c.metadata.name, c.resource_name, c.node_selector, tensor_parallel_size, std::move(why)};
}

std::string NamesOf(const std::vector<api::AcceleratorClass>& classes) {
  std::vector<std::string> names;
  for (const api::AcceleratorClass& c : classes) names.push_back(c.metadata.name);
  std::sort(names.begin(), names.end());
  return names.empty() ? "none" : Join(names, ", ");
}

// Those named, in the user's order; or, where none is named, those that a node of this cluster has.
std::vector<const api::AcceleratorClass*> Candidates(const Inputs& inputs) {
  std::vector<const api::AcceleratorClass*> found;
  const std::vector<std::string>& named = inputs.deployment.spec.hardware.accelerator_classes;
  for (const std::string& name : named) {
    if (const api::AcceleratorClass* c = FindClass(inputs, name)) found.push_back(c);
  }
  if (!named.empty()) return found;
  for (const api::AcceleratorClass& c : inputs.accelerator_classes) {
    if (CapacityOf(inputs.nodes, c.node_selector, c.resource_name).accelerators > 0) found.push_back(&c);
  }
  std::sort(found.begin(), found.end(),
            [](const auto* a, const auto* b) { return a->metadata.name < b->metadata.name; });
  return found;
}

Choice ByTheory(const Inputs& inputs, const science::ModelShape& shape,
                const std::vector<const api::AcceleratorClass*>& candidates, Refusal* refusal) {
  science::PlanInputs in = api::ToPlanInputs(inputs.deployment.spec, shape);
  for (const api::AcceleratorClass* c : candidates) in.accelerators.push_back(api::ToAccelerator(*c));
  const absl::StatusOr<science::Plan> plan = science::MakePlan(in);
  if (!plan.ok()) {
    *refusal = {"ModelShapeInvalid", StrCat("the model cannot be planned for: ", ToStd(plan.status().message()))};
    return {};
  }
  std::string misses;
  for (const science::PlanRow& row : plan->rows) {
    if (row.fits) {
      std::string why = StrCat(row.accelerator, " × ", row.tensor_parallel, ": ",
                               row.meets() ? "meets the objectives at least cost by theory"
                                           : StrCat("the nearest by theory, though ", row.why_not),
                               "; ", static_cast<int>(row.tokens_per_second), " tokens/s and ",
                               static_cast<int>(row.ms_per_token + 0.5), " ms a token at ", row.limit, " requests");
      return ChoiceOf(*FindClass(inputs, row.accelerator), row.tensor_parallel, std::move(why));
    }
    StrAppend(&misses, misses.empty() ? "" : "; ", row.accelerator, " × ", row.tensor_parallel, ": ", row.why_not);
  }
  *refusal = {"ModelDoesNotFit", StrCat("no allowed accelerator holds ", shape.name, ": ",
                                        misses.empty() ? "no allowed tensor-parallel degree" : misses,
                                        ". Allow more in spec.hardware, or a larger class")};
  return {};
}

}  // namespace

const api::AcceleratorClass* FindClass(const Inputs& inputs, std::string_view name) {
  for (const api::AcceleratorClass& c : inputs.accelerator_classes) {
    if (c.metadata.name == name) return &c;
  }
  return nullptr;
}

NodeCapacity CapacityOf(const std::vector<NodeView>& nodes, const Labels& node_selector, const std::string& resource) {
  NodeCapacity sum;
  for (const NodeView& node : nodes) {
    const auto matches = [&node](const auto& label) {
      const auto at = node.labels.find(label.first);
      return at != node.labels.end() && at->second == label.second;
    };
    const auto has = node.allocatable.find(resource);
    if (!node.schedulable || has == node.allocatable.end() || has->second <= 0) continue;
    if (!std::all_of(node_selector.begin(), node_selector.end(), matches)) continue;
    ++sum.nodes;
    sum.accelerators += has->second;
    sum.largest_node = std::max(sum.largest_node, has->second);
  }
  return sum;
}

Choice Choose(const Inputs& inputs, Refusal* refusal) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  const std::vector<std::string>& named = spec.hardware.accelerator_classes;
  const std::vector<const api::AcceleratorClass*> candidates = Candidates(inputs);
  const int given = spec.tensor_parallel_size.value_or(0);
  if (candidates.empty() && !named.empty()) {
    *refusal = {"AcceleratorClassMissing",
                StrCat("spec.hardware.acceleratorClasses names ", Join(named, ", "),
                       ", none of which exists; there are: ", NamesOf(inputs.accelerator_classes))};
    return {};
  }
  if (candidates.empty()) {
    if (given > 1) {
      *refusal = {"NoAccelerator", StrCat("spec.tensorParallelSize is ", given,
                                          ", but no node offers an accelerator of any AcceleratorClass: name one in "
                                          "spec.hardware.acceleratorClasses to wait for it")};
      return {};
    }
    return {.why = "no node offers an accelerator of any AcceleratorClass: runs on the CPU"};
  }
  const absl::StatusOr<science::ModelShape> shape = api::ToModelShape(spec.model);
  const bool power_of_two = (given & (given - 1)) == 0;
  if (shape.ok() && power_of_two) return ByTheory(inputs, *shape, candidates, refusal);
  const int degree = std::max(1, given);
  for (const api::AcceleratorClass* c : candidates) {
    if (c->accelerators_per_node < degree) continue;
    return ChoiceOf(*c, degree,
                    StrCat("the first class that has ", degree, " a node, because ",
                           shape.ok() ? "theory knows degrees that are powers of two"
                                      : StrCat("the shape of ", spec.model.name,
                                               " is not known: give spec.model.shape, or spec.tensorParallelSize and "
                                               "one class, to choose")));
  }
  *refusal = {"TensorParallelTooLarge",
              StrCat("spec.tensorParallelSize is ", degree, ", more than a node of any allowed AcceleratorClass has (",
                     candidates.front()->metadata.name, ": ", candidates.front()->accelerators_per_node, ")")};
  return {};
}

bool Reuse(const Inputs& inputs, const std::string& accelerator_class, int tensor_parallel_size, Choice* choice) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  const std::vector<std::string>& named = spec.hardware.accelerator_classes;
  const int most = api::MostAcceleratorsPerReplica(spec);
  if (spec.tensor_parallel_size && *spec.tensor_parallel_size != tensor_parallel_size) return false;
  if (accelerator_class.empty()) {
    if (!named.empty()) return false;
    *choice = {.tensor_parallel_size = tensor_parallel_size, .why = "runs on the CPU, as it was made"};
    return true;
  }
  if (!named.empty() && std::find(named.begin(), named.end(), accelerator_class) == named.end()) return false;
  const api::AcceleratorClass* c = FindClass(inputs, accelerator_class);
  if (c == nullptr || (most > 0 && tensor_parallel_size > most)) return false;
  *choice =
      ChoiceOf(*c, tensor_parallel_size, StrCat(accelerator_class, " × ", tensor_parallel_size, ", as it was made"));
  return true;
}

}  // namespace patella::reconcile
