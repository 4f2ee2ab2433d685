#include "operator/app/program.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "lib/base/logging.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/backoff.h"
#include "lib/kube/controller.h"
#include "lib/kube/events.h"
#include "lib/kube/lease.h"
#include "lib/kube/rest_client.h"
#include "lib/metrics/metrics.h"
#include "operator/app/check.h"
#include "operator/app/health.h"
#include "operator/app/preflight.h"
#include "operator/apply/wiring.h"

namespace patella::controller {
namespace {

constexpr auto kCacheTimeout = std::chrono::minutes(2);
// At the end, what an API server that does not answer may hold up, so that another leads soon.
constexpr auto kWorkersTimeout = std::chrono::seconds(1);
constexpr auto kEventsTimeout = std::chrono::seconds(1);
constexpr auto kReleaseTimeout = std::chrono::seconds(2);
constexpr int kExitLeaseLost = 1;
constexpr auto kCheckPatience = std::chrono::seconds(60);
constexpr kube::BackoffSettings kPreflightPauses = {.initial = std::chrono::seconds(1),
                                                    .cap = std::chrono::seconds(10)};

// Signals are blocked in every thread and taken by one, which knows no locks that others could hold.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    for (const int signal : {SIGTERM, SIGINT}) sigaddset(&set_, signal);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  // True once one came; waits at most so long.
  bool Wait(Duration at_most) {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(at_most).count();
    const timespec timeout{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
    if (!came_) came_ = sigtimedwait(&set_, nullptr, &timeout) > 0;
    return came_;
  }

 private:
  sigset_t set_;
  bool came_ = false;
};

// Calls `late` if it still exists after so long.
class Within {
 public:
  Within(Duration bound, std::function<void()> late)
      : thread_([this, bound, late = std::move(late)] {
          std::unique_lock lock(mutex_);
          if (!changed_.wait_for(lock, bound, [this] { return done_; })) late();
        }) {}
  ~Within() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;  // last: it uses the rest
};

class Program {
 public:
  Program(const Config& config, const std::string& version)
      : config_(config), agent_(StrCat("patella-operator/", version)), metrics_("patella-operator", version) {}
  ~Program() { Stop(); }

  absl::Status Run();

 private:
  absl::Status StartHealth();
  absl::Status Connect();
  bool UntilServed();  // false: a signal came first
  void MakeControllers();
  absl::Status StartElection();
  void Lead();
  void Stop();
  std::string NotReady() const;
  void SetProblem(std::string problem);
  bool MayWrite() const;

  const Config& config_;
  const std::string agent_;
  metrics::Metrics metrics_;
  Signals signals_;
  SteadyClock clock_;
  kube::BootClock boot_clock_;
  std::unique_ptr<HealthServer> health_;
  mutable std::mutex mutex_;
  std::string problem_ = "starting";
  std::atomic<kube::LeaderElector*> elector_now_{nullptr};
  kube::Connection connection_, election_;
  std::unique_ptr<kube::EventRecorder> events_;
  std::unique_ptr<kube::Manager> manager_;
  std::atomic<kube::Manager*> manager_now_{nullptr};
  std::unique_ptr<apply::Reconciler> reconciler_;
  std::unique_ptr<kube::LeaderElector> elector_;
  std::mutex lead_mutex_;
  bool stopping_ = false, leading_ = false;
};

void Program::SetProblem(std::string problem) {
  const std::lock_guard lock(mutex_);
  problem_ = std::move(problem);
}

std::string Program::NotReady() const {
  {
    const std::lock_guard lock(mutex_);
    if (!problem_.empty()) return problem_;
  }
  const kube::Manager* manager = manager_now_;
  return manager != nullptr && manager->CachesSynced() ? "" : "the caches are not full yet";
}

bool Program::MayWrite() const {
  const kube::LeaderElector* elector = elector_now_;
  return !config_.leader_election || (elector != nullptr && elector->IsLeader());
}

absl::Status Program::StartHealth() {
  HealthHooks hooks;
  hooks.metrics = [this] { return metrics_.Expose(); };
  hooks.not_ready = [this] { return NotReady(); };
  hooks.describe = [this] {
    const kube::Manager* manager = manager_now_;
    return manager == nullptr ? std::string() : manager->Describe();
  };
  PATELLA_ASSIGN_OR_RETURN(health_, HealthServer::Start(config_.admin.host, config_.admin.port, std::move(hooks)));
  LogInfo("listening", {{"admin", health_->address()}});
  return absl::OkStatus();
}

absl::Status Program::Connect() {
  kube::RestClientOptions options{.user_agent = agent_, .field_manager = apply::kManager};
  options.may_write = [this] { return MayWrite(); };
  options.metrics = &metrics_;
  PATELLA_ASSIGN_OR_RETURN(connection_, kube::Connect(config_.kubeconfig, clock_, options));
  if (!config_.leader_election) return absl::OkStatus();
  // The election has a connection of its own, whose calls end in time for the next renewal.
  PATELLA_ASSIGN_OR_RETURN(election_, kube::Connect(config_.kubeconfig, clock_,
                                                    {.user_agent = agent_,
                                                     .call_timeout = std::chrono::seconds(4),
                                                     .total_timeout = std::chrono::seconds(5),
                                                     .max_retries = 1}));
  return absl::OkStatus();
}

bool Program::UntilServed() {
  kube::Backoff backoff(kPreflightPauses, static_cast<uint64_t>(getpid()));
  std::string told;
  while (true) {
    const absl::Status status = Preflight(*connection_.client, config_.namespaces);
    if (status.ok()) return SetProblem(""), true;
    const std::string problem(ToStd(status.message()));
    SetProblem(problem);
    if (problem != told) {
      LogError("cannot work yet", {{"why", problem}, {"next", "tried again until it can"}});
      backoff.Reset();  // somebody is mending it
    }
    told = problem;
    if (signals_.Wait(backoff.Next(clock_.Now()))) return false;
  }
}

void Program::MakeControllers() {
  kube::ManagerOptions options{.namespaces = config_.namespaces, .metrics = &metrics_};
  manager_ = std::make_unique<kube::Manager>(connection_.client.get(), clock_, options);
  events_ = std::make_unique<kube::EventRecorder>(
      connection_.client.get(),
      kube::EventRecorderOptions{.controller = "patella.dev/operator", .instance = config_.pod_name}, clock_);
  apply::ReconcilerOptions reconciler;
  reconciler.images = config_.images;
  reconciler.placement.host_model_dir = config_.host_model_dir;
  reconciler.record = [this](kube::Event event) { events_->Record(std::move(event)); };
  reconciler.metrics = &metrics_;
  reconciler.operator_name = StrCat(config_.pod_namespace, "/", config_.lease_name);
  reconciler_ =
      apply::AddReconciler(*manager_, connection_.client.get(), clock_, config_.workers, std::move(reconciler));
  manager_now_ = manager_.get();
}

void Program::Lead() {
  const std::lock_guard lock(lead_mutex_);
  if (stopping_ || leading_) return;
  leading_ = true;
  LogInfo("leading", {{"workers", config_.workers}});
  manager_->StartWorkers();
}

absl::Status Program::StartElection() {
  if (!config_.leader_election) return Lead(), absl::OkStatus();
  kube::LeaseSettings lease;
  lease.namespace_name = config_.pod_namespace;
  lease.name = config_.lease_name;
  lease.identity = kube::MakeIdentity(config_.pod_name);
  lease.watch = true;  // a standby learns of a release at once
  PATELLA_RETURN_IF_ERROR(kube::CheckLeaseSettings(lease));
  kube::LeaderCallbacks callbacks;
  callbacks.on_started = [this] { Lead(); };
  callbacks.on_stopped = [this](const std::string& why) {
    {
      const std::lock_guard lock(lead_mutex_);
      if (stopping_) return;
    }
    // Workers may be in the middle of a call: nothing but the end of the process is certain to stop them in time.
    LogError("the lease was lost", {{"why", why}, {"next", "this process ends"}});
    _exit(kExitLeaseLost);
  };
  callbacks.on_clock_set = [this](Duration moved) {
    const kube::LeaderElector* elector = elector_now_;
    if (elector != nullptr && elector->IsLeader()) reconciler_->ClockSet(moved);
  };
  callbacks.on_new_leader = [](const std::string& holder) { LogInfo("leader", {{"holder", holder}}); };
  elector_ = std::make_unique<kube::LeaderElector>(election_.client.get(), lease, boot_clock_, std::move(callbacks),
                                                   &metrics_);
  elector_now_ = elector_.get();
  elector_->Start();
  return absl::OkStatus();
}

void Program::Stop() {
  {
    const std::lock_guard lock(lead_mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  const auto close = [](const kube::Connection& connection) {
    return [client = connection.client.get()] {
      LogWarning("the API server does not answer", {{"next", "this process ends without waiting for it"}});
      client->Close();
    };
  };
  if (manager_ != nullptr) {
    const Within bound(kWorkersTimeout, close(connection_));
    manager_->Stop();
  }
  if (events_ != nullptr) {
    const Within bound(2 * kEventsTimeout, close(connection_));
    events_->Stop(kEventsTimeout);
  }
  if (elector_ != nullptr) {
    const Within bound(kReleaseTimeout, close(election_));
    elector_->Stop(/*release=*/true);
  }
  elector_now_ = nullptr;
  elector_.reset();
  manager_now_ = nullptr;
  health_.reset();
  manager_.reset();
}

absl::Status Program::Run() {
  PATELLA_RETURN_IF_ERROR(StartHealth());
  PATELLA_RETURN_IF_ERROR(Connect());
  if (!UntilServed()) return absl::OkStatus();
  MakeControllers();
  PATELLA_RETURN_IF_ERROR(manager_->StartCaches(kCacheTimeout));
  LogInfo("caches are full");
  PATELLA_RETURN_IF_ERROR(StartElection());
  while (!signals_.Wait(std::chrono::hours(1))) {
  }
  LogInfo("stopping");
  Stop();
  return absl::OkStatus();
}

}  // namespace

absl::Status Run(const Config& config, const std::string& version) {
  if (!config.check) return Program(config, version).Run();
  const SteadyClock clock;
  PATELLA_ASSIGN_OR_RETURN(
      const kube::Connection connection,
      kube::Connect(config.kubeconfig, clock, {.user_agent = StrCat("patella-operator/", version)}));
  return Check(*connection.client, config, clock, kCheckPatience);
}

}  // namespace patella::controller
