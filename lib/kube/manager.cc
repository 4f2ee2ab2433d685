#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>

#include "lib/base/text.h"
#include "lib/kube/controller.h"

namespace patella::kube {

struct Manager::Impl {
  struct Watched {
    std::unique_ptr<Cache> cache;
    std::vector<std::unique_ptr<Reflector>> reflectors;
    bool Synced() const {
      return std::all_of(reflectors.begin(), reflectors.end(), [](const auto& r) { return r->HasSynced(); });
    }
    std::string LastError() const {
      for (const auto& reflector : reflectors) {
        const ReflectorStats stats = reflector->Stats();
        if (!stats.last_error.ok()) return std::string(ToStd(stats.last_error.message()));
      }
      return "";
    }
  };

  Client* client;
  const Clock& clock;
  ManagerOptions options;
  std::vector<Watched> watched;
  std::vector<std::unique_ptr<Controller>> controllers;
  std::atomic<bool> stopping = false;
  std::mutex mutex;  // of starting and stopping workers
  bool workers_started = false;
  bool stopped = false;
};

Manager::Manager(Client* client, const Clock& clock, ManagerOptions options)
    : impl_(new Impl{client, clock, std::move(options), {}, {}, false, {}, false, false}) {}

Manager::~Manager() { Stop(); }

Cache& Manager::Watch(const Resource& resource, WatchSelection selection) {
  Impl::Watched watched;
  watched.cache = std::make_unique<Cache>(resource);
  std::vector<std::string> namespaces = selection.namespaces.value_or(impl_->options.namespaces);
  if (namespaces.empty() || !resource.namespaced) namespaces = {""};
  for (const std::string& name : namespaces) {
    ReflectorOptions options;
    options.namespace_name = name;
    options.label_selector = selection.label_selector;
    options.field_selector = selection.field_selector;
    watched.reflectors.push_back(
        std::make_unique<Reflector>(impl_->client, watched.cache.get(), std::move(options), impl_->clock));
  }
  impl_->watched.push_back(std::move(watched));
  return *impl_->watched.back().cache;
}

Controller& Manager::AddController(ControllerOptions options, ReconcileFunction reconcile) {
  impl_->controllers.push_back(std::unique_ptr<Controller>(
      new Controller(std::move(options), std::move(reconcile), impl_->clock, impl_->options.metrics)));
  return *impl_->controllers.back();
}

absl::Status Manager::StartCaches(Duration timeout) {
  for (const Impl::Watched& watched : impl_->watched) {
    for (const auto& reflector : watched.reflectors) reflector->Start();
  }
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!CachesSynced()) {
    if (impl_->stopping) return absl::CancelledError("stopped while the caches were filled");
    if (std::chrono::steady_clock::now() >= deadline) {
      std::string missing;
      for (const Impl::Watched& watched : impl_->watched) {
        if (watched.Synced()) continue;
        StrAppend(&missing, missing.empty() ? "" : "; ", QualifiedName(watched.cache->resource()), ": ",
                  watched.LastError().empty() ? "no answer yet" : watched.LastError());
      }
      return absl::DeadlineExceededError(StrCat("not filled in ", Seconds(timeout), " s: ", missing));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return absl::OkStatus();
}

bool Manager::CachesSynced() const {
  return std::all_of(impl_->watched.begin(), impl_->watched.end(), [](const auto& w) { return w.Synced(); });
}

void Manager::StartWorkers() {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->workers_started || impl_->stopping) return;
  impl_->workers_started = true;
  for (const auto& controller : impl_->controllers) controller->Start();
}

void Manager::Stop() {
  impl_->stopping = true;
  const std::lock_guard lock(impl_->mutex);
  if (impl_->stopped) return;
  impl_->stopped = true;
  for (const auto& controller : impl_->controllers) controller->Stop();
  for (const Impl::Watched& watched : impl_->watched) {
    for (const auto& reflector : watched.reflectors) reflector->Stop();
  }
}

std::string Manager::Describe() const {
  std::string text;
  for (const Impl::Watched& watched : impl_->watched) {
    uint64_t watches = 0, lists = 0, failures = 0;
    for (const auto& reflector : watched.reflectors) {
      const ReflectorStats stats = reflector->Stats();
      watches += stats.watches + stats.watch_lists;
      lists += stats.lists;
      failures += stats.failures;
    }
    const std::string error = watched.LastError();
    StrAppend(&text, QualifiedName(watched.cache->resource()), ": ", watched.Synced() ? "synced" : "not synced", ", ",
              watched.cache->size(), " objects, ", watched.cache->bytes(), " bytes, ", lists, " lists, ", watches,
              " watches, ", failures, " failures", error.empty() ? "" : ", last error: ", error, "\n");
  }
  for (const auto& controller : impl_->controllers) {
    const WorkQueue& queue = controller->queue();
    StrAppend(&text, "queue: ", queue.Ready(), " ready, ", queue.Delayed(), " delayed, ", queue.Processing(),
              " with workers\n");
  }
  return text;
}

}  // namespace patella::kube
