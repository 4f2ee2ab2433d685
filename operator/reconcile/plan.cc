#include "operator/reconcile/plan.h"

namespace patella::reconcile {

std::string_view LabelOf(Role role) {
  switch (role) {
    case Role::kTrial:
      return "trial";
    case Role::kRetiring:
      return "retiring";
    case Role::kServing:
      break;
  }
  return "serving";
}

const Condition* FindCondition(const Plan& plan, std::string_view type) {
  for (const Condition& c : plan.conditions) {
    if (c.type == type) return &c;
  }
  return nullptr;
}

}  // namespace patella::reconcile
