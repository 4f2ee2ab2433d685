// The operator's half that writes, in a small cluster in this process: caches that events reach late, twice, out of order or not at all,
// calls that fail, a Deployment controller that takes its time, and a clock that only moves when told. One thread; everything random comes
// from one seed.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/random.h"
#include "lib/kube/memory_client.h"
#include "lib/kube/work_queue.h"
#include "operator/apply/reconciler.h"

namespace patella::apply {

// Passes calls on, but some of them fail: before they reach the store, or after, when the answer is lost.
class FaultyClient final : public kube::Client {
 public:
  struct Fault {
    absl::Status error;  // OK: none
    bool after = false;  // the call takes effect all the same
  };
  using Decide = std::function<Fault(std::string_view verb, const kube::Resource& resource)>;

  explicit FaultyClient(kube::Client* real) : real_(real) {}
  void Set(Decide decide) { decide_ = std::move(decide); }

  absl::StatusOr<kube::ObjectPtr> Get(const kube::Resource& r, std::string_view ns, std::string_view name) override {
    return Call<absl::StatusOr<kube::ObjectPtr>>("get", r, [&] { return real_->Get(r, ns, name); });
  }
  absl::StatusOr<kube::ListPage> List(const kube::Resource& r, const kube::ListOptions& o) override {
    return real_->List(r, o);
  }
  std::unique_ptr<kube::WatchStream> Watch(const kube::Resource& r, const kube::WatchOptions& o) override {
    return real_->Watch(r, o);
  }
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
    return real_->GetScale(r, ns, name);
  }
  absl::StatusOr<kube::Scale> SetScale(const kube::Resource& r, std::string_view ns, std::string_view name,
                                       int replicas, std::string_view version, const kube::WriteOptions& o) override {
    return real_->SetScale(r, ns, name, replicas, version, o);
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
};

inline constexpr char kNamespace[] = "demo";
inline constexpr char kName[] = "smollm2";

class World {
 public:
  explicit World(uint64_t seed, const std::string& sample = "cpu");

  Random random;
  kube::MemoryClient store;
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
    std::unique_ptr<kube::WatchStream> stream;
    std::deque<kube::WatchEvent> arriving;
    bool gap = false;  // an event was lost: the next list will tell
  };
  void Fetch();
  void Deliver(Feed& feed, size_t index);
  void Relist(Feed& feed);
  bool Work();              // one key; false if none is ready
  bool MovePods(bool one);  // false if all are where they should be
  bool CollectGarbage();    // what an owner that is gone was written for after it went

  const std::string sample_;
  ManualClock clock_;
  std::vector<std::unique_ptr<Feed>> feeds_;
  std::unique_ptr<kube::WorkQueue> queue_;
  std::unique_ptr<Reconciler> reconciler_;
  std::vector<kube::Event> told_;
};

}  // namespace patella::apply
