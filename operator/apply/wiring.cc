#include "operator/apply/wiring.h"

#include "operator/apply/affected.h"

namespace patella::apply {

std::unique_ptr<Reconciler> AddReconciler(kube::Manager& manager, kube::Client* client, const Clock& clock, int workers,
                                          ReconcilerOptions options) {
  kube::Cache& deployments = manager.Watch(kube::kInferenceDeployments);
  kube::Cache& classes = manager.Watch(kube::kAcceleratorClasses);
  kube::Cache& nodes = manager.Watch(kube::kNodes);
  Caches caches{&deployments, &classes, &nodes, {}};
  for (const kube::Resource& child : ChildResources())
    caches.children.push_back(&manager.Watch(child, {.label_selector = ChildSelector()}));
  auto reconciler = std::make_unique<Reconciler>(client, caches, clock, std::move(options));
  kube::Controller& controller =
      manager.AddController({.name = "inferencedeployment", .workers = workers},
                            [r = reconciler.get()](const kube::ObjectKey& key) { return r->Reconcile(key); });
  std::vector<kube::Cache*> watched = {&deployments, &classes, &nodes};
  watched.insert(watched.end(), caches.children.begin(), caches.children.end());
  for (kube::Cache* cache : watched) {
    controller.ReconcileMapped(*cache, [cache, &deployments](const kube::Change& change) {
      return AffectedBy(change, cache->resource(), deployments);
    });
  }
  return reconciler;
}

}  // namespace patella::apply
