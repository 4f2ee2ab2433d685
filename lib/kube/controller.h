// Controllers: caches tell of changes, a queue collects keys, workers reconcile them. The frame of an operator.
//
//   Manager manager(&client, clock, {.metrics = &metrics});
//   Cache& deployments = manager.Watch(kInferenceDeployments);
//   Cache& children = manager.Watch(kDeployments, {.label_selector = "app.kubernetes.io/managed-by=patella"});
//   Controller& controller = manager.AddController({.name = "inferencedeployment", .workers = 4}, Reconcile);
//   controller.ReconcileOn(deployments);
//   controller.ReconcileOwnerOf(children, "InferenceDeployment");
//   PATELLA_RETURN_IF_ERROR(manager.StartCaches(std::chrono::minutes(2)));   // warm, also on a standby
//   ... when leader: manager.StartWorkers(); ... at the end: manager.Stop();
//
// Threads: one a reflector, `workers` a controller. The reconcile function runs on workers, never twice at once for one
// key, and may block. Order of Stop: queues, workers (each finishes its key), reflectors. The client and clock outlive
// the manager.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/kube/cache.h"
#include "lib/kube/client.h"
#include "lib/kube/reflector.h"
#include "lib/kube/work_queue.h"
#include "lib/metrics/metrics.h"

namespace patella::kube {

struct ReconcileResult {
  std::optional<Duration> requeue_after;  // come back then, whatever happens
  bool waits = false;                     // nothing was decided: the object's earlier error, if any, stands
};
// An error comes back with back-off; one made by TerminalError does not until something changes. The same error of the same object is
// logged once; controller_runtime_reconcile_errors_total counts each.
using ReconcileFunction = std::function<absl::StatusOr<ReconcileResult>(const ObjectKey& key)>;

absl::Status TerminalError(const absl::Status& status);
bool IsTerminalError(const absl::Status& status);

struct ControllerOptions {
  std::string name;  // label of the metrics
  int workers = 1;
  WorkQueueOptions queue;  // name and metrics are filled in
};

class Controller {
 public:
  using KeysOf = std::function<std::vector<ObjectKey>(const Change&)>;

  // The objects themselves. An update that changes nothing but resourceVersion (and managedFields) does not reconcile.
  void ReconcileOn(Cache& cache);
  // Their controller, if it is of that kind.
  void ReconcileOwnerOf(Cache& cache, std::string_view owner_kind);
  void ReconcileMapped(Cache& cache, KeysOf keys_of);
  void Enqueue(const ObjectKey& key);  // by hand

  WorkQueue& queue();

  ~Controller();

 private:
  friend class Manager;
  Controller(ControllerOptions options, ReconcileFunction reconcile, const Clock& clock, metrics::Metrics* metrics);
  void Start();
  void Stop();
  struct Impl;
  std::shared_ptr<Impl> impl_;  // handlers hold it too
};

struct ManagerOptions {
  std::vector<std::string> namespaces;  // of namespaced resources; empty: all
  metrics::Metrics* metrics = nullptr;
};

struct WatchSelection {
  std::string label_selector;
  std::string field_selector;
  std::optional<std::vector<std::string>> namespaces;  // instead of the manager's
};

class Manager {
 public:
  Manager(Client* client, const Clock& clock, ManagerOptions options = {});
  ~Manager();

  // A cache of that resource, kept by a reflector for each namespace. Lives as long as the manager.
  Cache& Watch(const Resource& resource, WatchSelection selection = {});
  Controller& AddController(ControllerOptions options, ReconcileFunction reconcile);

  // Starts the reflectors and waits until all caches are full. DeadlineExceeded names those that are not, and their
  // last error.
  absl::Status StartCaches(Duration timeout);
  bool CachesSynced() const;
  void StartWorkers();
  void Stop();  // once; also by the destructor

  // "configmaps: synced, 12 objects, 3 watches, last error …" a line, for /debug and `/readyz?verbose`.
  std::string Describe() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::kube
