#include "operator/reconcile/conditions.h"

#include "lib/base/text.h"

namespace patella::reconcile {
namespace {

std::string Replicas(int n) { return StrCat(n, n == 1 ? " replica" : " replicas"); }

std::string Accelerators(int64_t n) { return StrCat(n, n == 1 ? " accelerator" : " accelerators"); }

Condition Ready(const Situation& s) {
  Condition c{"Ready", false, "", ""};
  const bool moving = s.others > 0;
  const std::string figures = StrCat(s.ready, " of ", Replicas(s.possible), " ready");
  if (s.refusal.reason != "" && s.ready == 0) return {"Ready", false, s.refusal.reason, s.refusal.message};
  if (s.possible == 0 && s.refusal.reason.empty()) return {"Ready", false, "ScaledToZero", "no replica is wanted"};
  c.status = s.ready > 0 && (s.ready >= s.possible || moving);
  c.reason = c.status ? "Serving" : s.ready > 0 ? "PartlyReady" : "NotReady";
  c.message = figures;
  if (s.ready == 0) StrAppend(&c.message, ": a replica is ready once its engine has loaded and its limit is known");
  return c;
}

Condition Capacity(const Situation& s) {
  const auto make = [](bool status, std::string reason, std::string message) {
    return Condition{"CapacityAvailable", status, std::move(reason), std::move(message)};
  };
  const Choice& choice = s.choice;
  if (!s.refusal.reason.empty()) return make(false, s.refusal.reason, s.refusal.message);
  if (s.possible < s.desired) {
    return make(false, "MaxAccelerators",
                StrCat(Replicas(s.desired), " wanted need ",
                       Accelerators(static_cast<int64_t>(s.desired) * choice.accelerators()),
                       "; spec.hardware.maxAccelerators allows ", Replicas(s.possible)));
  }
  if (choice.accelerators() == 0) return make(true, "NoAcceleratorNeeded", choice.why);
  const NodeCapacity nodes = CapacityOf(s.inputs.nodes, choice.node_selector, choice.resource_name);
  std::string selector;
  for (const auto& [name, value] : choice.node_selector)
    StrAppend(&selector, selector.empty() ? "" : ",", name, "=", value);
  const std::string where = StrCat("nodes with ", choice.resource_name, selector.empty() ? "" : " and ", selector);
  if (nodes.nodes == 0)
    return make(false, "NoMatchingNode",
                StrCat("AcceleratorClass ", choice.accelerator_class, ": there are no ", where));
  if (nodes.largest_node < choice.accelerators()) {
    return make(false, "NodeTooSmall",
                StrCat("a replica needs ", Accelerators(choice.accelerators()), " of one node; the largest has ",
                       nodes.largest_node));
  }
  if (nodes.accelerators < s.accelerators) {
    return make(false, "TooFewAccelerators",
                StrCat(Accelerators(s.accelerators), " wanted; ", where, " have ", nodes.accelerators));
  }
  return make(true, "Enough",
              StrCat(Accelerators(s.accelerators), " wanted, ", nodes.accelerators, " there; ", choice.why));
}

Condition Update(const Situation& s) {
  if (s.update.empty()) return {"UpdateAvailable", false, "UpToDate", ""};
  return {"UpdateAvailable", true, "NewImages", StrCat(s.update, ": set spec.updatePolicy: Auto to move to them")};
}

Condition Stalled(const Situation& s) {
  if (!s.refusal.reason.empty()) return {"Stalled", true, s.refusal.reason, s.refusal.message};
  if (s.hand_over.blocked) {
    return {
        "Stalled", true, "NoRoomForHandOver",
        StrCat("revision ", s.revision, " needs ", Accelerators(s.choice.accelerators()),
               " beside the last ready replica of the old one, more than spec.hardware.maxAccelerators allows: raise "
               "it, or go through zero replicas (scaling.minReplicas: 0) to accept an interruption")};
  }
  if (s.wanted != nullptr && s.wanted->failed)
    return {"Stalled", true, "ProgressDeadlineExceeded",
            StrCat("Deployment ", s.wanted->name, ": ", s.wanted->failure)};
  return {"Stalled", false, "AsExpected", ""};
}

Condition Reconciling(const Situation& s) {
  const auto busy = [](std::string reason, std::string message) {
    return Condition{"Reconciling", true, std::move(reason), std::move(message)};
  };
  if (!s.refusal.reason.empty()) return {"Reconciling", false, s.refusal.reason, ""};
  if (s.wanted == nullptr) return busy("NewRevision", StrCat("revision ", s.revision, " is made"));
  if (s.others > 0) {
    return busy("HandOver",
                StrCat("revision ", s.revision, " takes over: ", s.wanted->ready, " of ", Replicas(s.possible),
                       " ready, ", s.others, s.others == 1 ? " old revision" : " old revisions", " still there"));
  }
  if (!s.wanted->observed || s.wanted->updated < s.wanted->wanted)
    return busy("RolloutInProgress", StrCat("Deployment ", s.wanted->name, " is being rolled out"));
  if (s.wanted->ready < s.possible || s.wanted->wanted != s.possible)
    return busy("Scaling", StrCat(s.wanted->ready, " of ", Replicas(s.possible), " ready"));
  return {"Reconciling", false, "UpToDate", ""};
}

}  // namespace

std::vector<Condition> ConditionsOf(const Situation& s) {
  if (s.inputs.deployment.spec.paused) {
    const std::string paused = "spec.paused is true: nothing is changed until it is false";
    Condition ready{"Ready", s.ready > 0, s.ready > 0 ? "Serving" : "NotReady",
                    StrCat(Replicas(s.ready), " ready; ", paused)};
    return {ready, {"Reconciling", false, "Paused", paused}, {"Stalled", false, "Paused", paused}};
  }
  return {Ready(s), Capacity(s), Update(s), Reconciling(s), Stalled(s)};
}

}  // namespace patella::reconcile
