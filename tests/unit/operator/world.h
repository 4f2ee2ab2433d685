// The operator in a small cluster in this process: reflectors whose events come late, twice, out of order or not at all, calls of every kind that
// fail, a Deployment controller that takes its time, and a clock that only moves when told. One thread; everything random comes from one
// seed.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "lib/kube/memory_client.h"
#include "lib/kube/reflector.h"
#include "lib/kube/work_queue.h"
#include "operator/apply/reconciler.h"

namespace patella::apply {

// A watch whose events come when the test says.
class Arrivals final : public kube::WatchStream {
 public:
  // `initial`: it begins with the state, which comes at once. It breaks off with `breaks`, if that is an error, behind the first event after.
  Arrivals(std::unique_ptr<kube::WatchStream> real, bool initial, absl::Status breaks, std::function<void()> ended)
      : real_(std::move(real)), initial_(initial), breaks_(std::move(breaks)), ended_(std::move(ended)) {}
  ~Arrivals() override { ended_(); }

  absl::StatusOr<kube::WatchEvent> Next(Duration wait) override;
  void Cancel() override { real_->Cancel(); }

  void Fetch();
  void Deliver(size_t index);  // that of `arriving` comes next
  void Break(absl::Status status) { broken_ = std::move(status); }
  std::deque<kube::WatchEvent> arriving;

 private:
  const std::unique_ptr<kube::WatchStream> real_;
  bool initial_;
  const absl::Status breaks_;
  const std::function<void()> ended_;
  absl::Status broken_;
  std::deque<kube::WatchEvent> delivered_;
};

// Passes calls on, but some of them fail: before they reach the store, or after, when the answer is lost.
class FaultyClient final : public kube::Client {
 public:
  struct Fault {
    absl::Status error;  // OK: none
    bool after = false;  // the call takes effect all the same; a watch tells one event
  };
  using Decide = std::function<Fault(std::string_view verb, const kube::Resource& resource)>;

  using Watching = std::function<void(const kube::Resource& resource, Arrivals* watch)>;  // null: it has ended

  explicit FaultyClient(kube::Client* real) : real_(real) {}
  void Set(Decide decide) { decide_ = std::move(decide); }
  void OnWatch(Watching watching) { watching_ = std::move(watching); }

  absl::StatusOr<kube::ObjectPtr> Get(const kube::Resource& r, std::string_view ns, std::string_view name) override {
    return Call<absl::StatusOr<kube::ObjectPtr>>("get", r, [&] { return real_->Get(r, ns, name); });
  }
  absl::StatusOr<kube::ListPage> List(const kube::Resource& r, const kube::ListOptions& o) override {
    return Call<absl::StatusOr<kube::ListPage>>("list", r, [&] { return real_->List(r, o); });
  }
  std::unique_ptr<kube::WatchStream> Watch(const kube::Resource& r, const kube::WatchOptions& o) override;
  absl::StatusOr<kube::ObjectPtr> Create(const kube::Resource& r, std::string_view ns, std::string_view body,
                                         const kube::WriteOptions& o) override {
    return Call<absl::StatusOr<kube::ObjectPtr>>("create", r, [&] { return real_->Create(r, ns, body, o); });
  }
  absl::StatusOr<kube::ObjectPtr> Update(const kube::Resource& r, std::string_view ns, std::string_view name,
                                         std::string_view body, const kube::WriteOptions& o) override {
    return Call<absl::StatusOr<kube::ObjectPtr>>("update", r, [&] { return real_->Update(r, ns, name, body, o); });
  }
  absl::StatusOr<kube::ObjectPtr> Apply(const kube::Resource& r, std::string_view ns, std::string_view name,
                                        std::string_view body, const kube::ApplyOptions& o) override {
    return Call<absl::StatusOr<kube::ObjectPtr>>("apply", r, [&] { return real_->Apply(r, ns, name, body, o); });
  }
  absl::StatusOr<kube::ObjectPtr> MergePatch(const kube::Resource& r, std::string_view ns, std::string_view name,
                                             std::string_view body, const kube::WriteOptions& o) override {
    return Call<absl::StatusOr<kube::ObjectPtr>>("patch", r, [&] { return real_->MergePatch(r, ns, name, body, o); });
  }
  absl::Status Delete(const kube::Resource& r, std::string_view ns, std::string_view name,
                      const kube::DeleteOptions& o) override {
    return Call<absl::Status>("delete", r, [&] { return real_->Delete(r, ns, name, o); });
  }
  absl::StatusOr<kube::Scale> GetScale(const kube::Resource& r, std::string_view ns, std::string_view name) override {
    return Call<absl::StatusOr<kube::Scale>>("get", r, [&] { return real_->GetScale(r, ns, name); });
  }
  absl::StatusOr<kube::Scale> SetScale(const kube::Resource& r, std::string_view ns, std::string_view name,
                                       int replicas, std::string_view version, const kube::WriteOptions& o) override {
    return Call<absl::StatusOr<kube::Scale>>("patch", r,
                                             [&] { return real_->SetScale(r, ns, name, replicas, version, o); });
  }

 private:
  template <typename T, typename F>
  T Call(std::string_view verb, const kube::Resource& resource, F call) {
    const Fault fault = decide_ ? decide_(verb, resource) : Fault{};
    if (fault.error.ok()) return call();
    if (fault.after) T done = call();
    return fault.error;
  }

  kube::Client* const real_;
  Decide decide_;
  Watching watching_;
};

inline constexpr char kNamespace[] = "demo";
inline constexpr char kName[] = "smollm2";

class World {
 public:
  // `watch_list`: the API server can tell the initial state by a watch; else it is listed. `operator_name`: of its Lease. `beside`: another
  // operator in the same cluster and time.
  explicit World(uint64_t seed, const std::string& sample = "cpu", bool watch_list = true,
                 const std::string& operator_name = "", const World* beside = nullptr);
  ~World();

 private:
  struct Cluster {
    kube::MemoryClient store;
    ManualClock clock;
  };
  const std::shared_ptr<Cluster> cluster_;

 public:
  Random random;
  kube::MemoryClient& store = cluster_->store;
  FaultyClient client{&store};

  // The user.
  void Create();
  void Patch(const std::string& merge_patch);  // of the InferenceDeployment
  void Delete(const kube::Resource& resource, const std::string& name);

  // One thing happens: an event arrives (if `chaos`, any, or one again, or it is lost), a worker reconciles, the Deployment controller moves
  // a pod, time passes.
  void Step(bool chaos);
  // Until nothing more would happen, an hourly look included. False if it does not come to rest.
  bool Settle();
  bool Turn();  // all that this operator can do now; false if that is nothing
  void Pass(Duration time) { clock_.Advance(time); }
  void SetWallClock(Duration by) { reconciler_->ClockSet(by); }
  void Restart();  // of the operator: its memory is gone, its caches are filled anew

  std::vector<kube::ObjectPtr> All(const kube::Resource& resource);
  std::vector<std::string> Names(const kube::Resource& resource);
  std::string State();  // all that is there, but what differs between two ways to the same state
  int ReadyPods();
  const std::vector<kube::Event>& events() const { return told_; }

 private:
  struct Feed {
    kube::Resource resource;
    std::string selector;
    std::unique_ptr<kube::Cache> cache;
    Arrivals* watch = nullptr;  // of the reflector, while it has one
    std::unique_ptr<kube::Reflector> reflector;
  };
  // The reflectors do what they can now. How long the first of them pauses; nothing if all follow their watches.
  std::optional<Duration> Reflect();
  void Deliver(Feed& feed, size_t index);
  void Break(Feed& feed);   // its watch, so that it reads the state anew
  bool Work();              // one key; false if none is ready, or a cache has never been full
  bool MovePods(bool one);  // false if all are where they should be
  bool CollectGarbage();    // what an owner that is gone was written for after it went

  const std::string sample_;
  const bool watch_list_;
  const std::string operator_name_;
  ManualClock& clock_ = cluster_->clock;
  std::vector<std::unique_ptr<Feed>> feeds_;
  std::unique_ptr<kube::WorkQueue> queue_;
  std::unique_ptr<Reconciler> reconciler_;
  std::vector<kube::Event> told_;
};

}  // namespace patella::apply
