// One InferenceDeployment: from the caches to a plan, from the plan to calls, and what came of it into status and events.
//
// This is the function that the work queue's workers run. What the API server refuses for good (forbidden, rejected, a name that is taken)
// becomes the condition Stalled with its words, and is tried again with growing pauses; what passes (unavailable, a conflict) only the latter.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/kube/controller.h"
#include "lib/kube/events.h"
#include "lib/metrics/metrics.h"
#include "operator/apply/contest.h"
#include "operator/apply/executor.h"
#include "operator/apply/rivals.h"
#include "operator/reconcile/inputs.h"

namespace patella::apply {

struct Caches {
  kube::Cache* inference_deployments;
  kube::Cache* accelerator_classes;
  kube::Cache* nodes;
  std::vector<kube::Cache*> children;  // what ChildSelector selects
};

struct ReconcilerOptions {
  reconcile::Images images;
  reconcile::Placement placement;
  std::function<void(kube::Event)> record;  // may be empty
  std::function<WallTime()> wall_time;      // empty: the machine's
  metrics::Metrics* metrics = nullptr;      // patella_desired_replicas and cost
  std::string operator_name = {};           // "namespace/name" of the Lease; "": rivals are not looked for
};

// The kinds of children that are cached, and the label by which: nothing else of these kinds is read but by name.
const std::vector<kube::Resource>& ChildResources();
std::string ChildSelector();

class Reconciler {
 public:
  Reconciler(kube::Client* client, Caches caches, const Clock& clock, ReconcilerOptions options);

  absl::StatusOr<kube::ReconcileResult> Reconcile(const kube::ObjectKey& key);

  // Tells on every object that the wall clock of the operator's node was set: its times and certificates are judged by it.
  void ClockSet(Duration moved);

  // Inputs as the caches show them now. For tests.
  reconcile::Inputs InputsOf(const kube::Object& object, const api::InferenceDeployment& deployment) const;

 private:
  std::vector<kube::ObjectPtr> DeploymentsOf(const kube::Object& object) const;  // its, as cached
  reconcile::Plan PlanOf(const kube::Object& object) const;
  absl::Status WriteStatus(const reconcile::Plan& plan, const kube::Object& object);
  void Record(const kube::Object& object, bool warning, std::string reason, std::string note);
  void Tell(const kube::Object& object, const reconcile::Plan& plan, const std::vector<Deed>& deeds,
            const std::string& status_json);
  void Measure(const kube::ObjectKey& key, int replicas, double cost);
  void Gone(const kube::ObjectKey& key);
  // Waits while another operator has this object in hand, or our name on its Deployments is to be seen first.
  absl::StatusOr<kube::ReconcileResult> Standing(const kube::Object& object);
  // What is to be told of another operator, as an Event and as a condition. When to look at the condition again; nothing if it does not stand there.
  absl::StatusOr<std::optional<Duration>> TellOf(const Rivals::Verdict& verdict, const kube::Object& object);

  kube::Client* const client_;
  const Caches caches_;
  const Clock& clock_;
  const ReconcilerOptions options_;
  Executor executor_;
  Rivals rivals_;
  Contest contest_;
  mutable std::mutex mutex_;
  std::map<kube::ObjectKey, bool> known_;
  std::map<kube::ObjectKey, std::string> told_rivals_;
  mutable std::map<std::string, std::string> ignored_classes_;  // why, as last logged
};

}  // namespace patella::apply
