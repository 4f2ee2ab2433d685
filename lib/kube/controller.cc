#include "lib/kube/controller.h"

#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "absl/strings/cord.h"
#include "lib/base/logging.h"
#include "lib/base/text.h"

namespace patella::kube {
namespace {

constexpr char kTerminalUrl[] = "patella.dev/kube.TerminalError";

// Before and after `"resourceVersion":"N"`.
std::pair<std::string_view, std::string_view> AroundVersion(const Object& object) {
  const std::string version = StrCat("\"resourceVersion\":\"", object.resource_version(), "\"");
  const std::string_view json = object.json();
  const size_t at = json.find(version);
  if (at == std::string_view::npos) return {json, {}};
  return {json.substr(0, at), json.substr(at + version.size())};
}

bool SameButVersion(const Change& change) {
  return change.kind == Change::Kind::kUpdated && AroundVersion(*change.before) == AroundVersion(*change.after);
}

// What each object failed with last. Thread-safe.
class LastErrors {
 public:
  // Whether that is news.
  bool Failed(const ObjectKey& key, std::string error) {
    const std::lock_guard lock(mutex_);
    std::string& last = errors_[key];
    if (last == error) return false;
    last = std::move(error);
    return true;
  }
  // Whether it had failed.
  bool Worked(const ObjectKey& key) {
    const std::lock_guard lock(mutex_);
    return errors_.erase(key) > 0;
  }

 private:
  std::mutex mutex_;
  std::map<ObjectKey, std::string> errors_;
};

struct ControllerMetrics {
  ControllerMetrics(metrics::Metrics& m, const std::string& name)
      : success(m.GetCounter("controller_runtime_reconcile_total", {{"controller", name}, {"result", "success"}})),
        error(m.GetCounter("controller_runtime_reconcile_total", {{"controller", name}, {"result", "error"}})),
        requeue_after(
            m.GetCounter("controller_runtime_reconcile_total", {{"controller", name}, {"result", "requeue_after"}})),
        errors(m.GetCounter("controller_runtime_reconcile_errors_total", {{"controller", name}})),
        terminal(m.GetCounter("controller_runtime_terminal_reconcile_errors_total", {{"controller", name}})),
        seconds(m.GetHistogram("controller_runtime_reconcile_time_seconds", {{"controller", name}})),
        workers(m.GetGauge("controller_runtime_max_concurrent_reconciles", {{"controller", name}})),
        active(m.GetGauge("controller_runtime_active_workers", {{"controller", name}})) {}
  metrics::Counter success, error, requeue_after, errors, terminal;
  metrics::Histogram seconds;
  metrics::Gauge workers, active;
};

WorkQueueOptions QueueOptions(const ControllerOptions& options, metrics::Metrics* metrics) {
  WorkQueueOptions queue = options.queue;
  queue.name = options.name;
  queue.metrics = metrics;
  return queue;
}

}  // namespace

absl::Status TerminalError(const absl::Status& status) {
  absl::Status terminal = status;
  terminal.SetPayload(kTerminalUrl, absl::Cord("1"));
  return terminal;
}

bool IsTerminalError(const absl::Status& status) { return status.GetPayload(kTerminalUrl).has_value(); }

struct Controller::Impl {
  Impl(ControllerOptions o, ReconcileFunction r, const Clock& c, metrics::Metrics* m)
      : options(std::move(o)), reconcile(std::move(r)), clock(c), queue(QueueOptions(options, m), c) {
    if (m == nullptr) return;
    metrics.emplace(*m, options.name);
    metrics->workers.Set(options.workers);
  }

  const ControllerOptions options;
  const ReconcileFunction reconcile;
  const Clock& clock;
  WorkQueue queue;
  std::optional<ControllerMetrics> metrics;
  LastErrors last_errors;
  std::vector<std::thread> workers;

  absl::StatusOr<ReconcileResult> Call(const ObjectKey& key) const {
    try {
      return reconcile(key);
    } catch (const std::exception& error) {  // one bad object must not end the reconciling of all others
      return absl::InternalError(StrCat("bug: exception in reconcile: ", error.what()));
    }
  }

  void ReconcileOne(const ObjectKey& key) {
    const TimePoint began = clock.Now();
    if (metrics) metrics->active.Add(1);
    const absl::StatusOr<ReconcileResult> result = Call(key);
    if (metrics) {
      metrics->active.Add(-1);
      metrics->seconds.Observe(Seconds(clock.Now() - began));
    }
    if (!result.ok()) {
      const bool terminal = IsTerminalError(result.status());
      if (metrics) {
        metrics->error.Add();
        metrics->errors.Add();
        if (terminal) metrics->terminal.Add();
      }
      if (last_errors.Failed(key, result.status().ToString())) {
        LogWarning("reconcile failed", {{"controller", options.name},
                                        {"object", key.ToString()},
                                        {"error", result.status()},
                                        {"repeated", !terminal}});
      }
      if (!terminal) queue.AddRateLimited(key);
      return;
    }
    if (!result->waits) queue.Forget(key);
    if (!result->waits && last_errors.Worked(key))
      LogInfo("reconciled again", {{"controller", options.name}, {"object", key.ToString()}});
    if (metrics) (result->requeue_after ? metrics->requeue_after : metrics->success).Add();
    if (result->requeue_after) queue.AddAfter(key, *result->requeue_after);
  }

  void Work() {
    while (const std::optional<ObjectKey> key = queue.Get()) {
      ReconcileOne(*key);
      queue.Done(*key);
    }
  }
};

Controller::Controller(ControllerOptions options, ReconcileFunction reconcile, const Clock& clock,
                       metrics::Metrics* metrics)
    : impl_(std::make_shared<Impl>(std::move(options), std::move(reconcile), clock, metrics)) {}

Controller::~Controller() { Stop(); }

void Controller::ReconcileOn(Cache& cache) {
  ReconcileMapped(cache, [](const Change& change) { return std::vector<ObjectKey>{change.object().key()}; });
}

void Controller::ReconcileOwnerOf(Cache& cache, std::string_view owner_kind) {
  ReconcileMapped(cache, [kind = std::string(owner_kind)](const Change& change) {
    std::vector<ObjectKey> keys;
    for (const Object* object : {change.before.get(), change.after.get()}) {
      if (object == nullptr || object->controller_kind() != kind) continue;
      ObjectKey key{std::string(object->namespace_name()), std::string(object->controller_name())};
      if (keys.empty() || keys.back() != key) keys.push_back(std::move(key));
    }
    return keys;
  });
}

void Controller::ReconcileMapped(Cache& cache, KeysOf keys_of) {
  cache.AddHandler([impl = impl_, keys_of = std::move(keys_of)](const Change& change) {
    if (SameButVersion(change)) return;
    for (const ObjectKey& key : keys_of(change)) {
      impl->queue.Add(key, change.initial ? kPriorityInitial : kPriorityNormal);
    }
  });
}

void Controller::Enqueue(const ObjectKey& key) { impl_->queue.Add(key); }

WorkQueue& Controller::queue() { return impl_->queue; }

void Controller::Start() {
  for (int i = 0; i < impl_->options.workers; ++i) {
    impl_->workers.emplace_back([impl = impl_.get()] { impl->Work(); });
  }
}

void Controller::Stop() {
  impl_->queue.ShutDownAndDrop();
  for (std::thread& worker : impl_->workers) worker.join();
  impl_->workers.clear();
}

}  // namespace patella::kube
