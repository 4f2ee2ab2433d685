#include "tests/unit/operator/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lib/api/print.h"
#include "lib/base/logging.h"
#include "lib/base/text.h"
#include "operator/apply/affected.h"
#include "tests/unit/operator/samples.h"

namespace patella::apply {
namespace {

using nlohmann::json;

constexpr auto kLong = std::chrono::minutes(30);  // longer than any back-off, shorter than the hourly look
constexpr int kMostSteps = 20'000;

void Neutral(json& node) {
  if (node.is_object()) {
    for (const char* changing : {"uid", "resourceVersion", "creationTimestamp", "generation", "observedGeneration",
                                 "lastTransitionTime", "patella.dev/intent", "managedFields"})
      node.erase(changing);
  }
  for (json& child : node) {
    if (child.is_structured()) Neutral(child);
  }
  // Lists that are maps: what was taken out and put in again is at the end.
  if (node.is_array() && !node.empty() && node[0].is_object() && (node[0].contains("type") || node[0].contains("hash")))
    std::sort(node.begin(), node.end());
}

class RefusedWatch final : public kube::WatchStream {
 public:
  explicit RefusedWatch(absl::Status status) : status_(std::move(status)) {}
  absl::StatusOr<kube::WatchEvent> Next(Duration) override { return status_; }
  void Cancel() override {}

 private:
  const absl::Status status_;
};

}  // namespace

absl::StatusOr<kube::WatchEvent> Arrivals::Next(Duration) {
  if (!broken_.ok()) return broken_;
  if (initial_) {
    absl::StatusOr<kube::WatchEvent> event = real_->Next(Duration::zero());
    initial_ = event.ok() && !(event->type == kube::WatchEventType::kBookmark && event->object->initial_events_end());
    return event;
  }
  if (delivered_.empty()) return kube::WatchEvent{};
  kube::WatchEvent event = std::move(delivered_.front());
  delivered_.pop_front();
  broken_ = breaks_;
  return event;
}

void Arrivals::Fetch() {
  while (!initial_) {
    const auto event = real_->Next(Duration::zero());
    if (!event.ok() || event->type == kube::WatchEventType::kNothingYet) return;
    if (event->type != kube::WatchEventType::kBookmark) arriving.push_back(*event);
  }
}

void Arrivals::Deliver(size_t index) {
  delivered_.push_back(arriving[index]);
  arriving.erase(arriving.begin() + static_cast<long>(index));
}

std::unique_ptr<kube::WatchStream> FaultyClient::Watch(const kube::Resource& r, const kube::WatchOptions& o) {
  const Fault fault = decide_ ? decide_("watch", r) : Fault{};
  if (!fault.error.ok() && !fault.after) return std::make_unique<RefusedWatch>(fault.error);
  auto watch = std::make_unique<Arrivals>(real_->Watch(r, o), o.send_initial_events, fault.error,
                                          [this, r] { watching_(r, nullptr); });
  watching_(r, watch.get());
  return watch;
}

World::World(uint64_t seed, const std::string& sample, bool watch_list, const std::string& operator_name,
             const World* beside)
    : cluster_(beside == nullptr ? std::make_shared<Cluster>() : beside->cluster_),
      random(seed),
      sample_(sample),
      watch_list_(watch_list),
      operator_name_(operator_name) {
  EXPECT_TRUE(SetLogLevel("off").ok());
  const auto add = [this](const kube::Resource& resource, const std::string& selector) {
    auto feed = std::make_unique<Feed>();
    feed->resource = resource;
    feed->selector = selector;
    feeds_.push_back(std::move(feed));
  };
  add(kube::kInferenceDeployments, "");
  add(kube::kAcceleratorClasses, "");
  add(kube::kNodes, "");
  for (const kube::Resource& child : ChildResources()) add(child, ChildSelector());
  client.OnWatch([this](const kube::Resource& resource, Arrivals* watch) {
    for (const auto& feed : feeds_) {
      if (feed->resource.kind == resource.kind) feed->watch = watch;
    }
  });
  Restart();
}

// A watch that ends looks for its feed among all.
World::~World() {
  for (const auto& feed : feeds_) feed->reflector.reset();
}

void World::Restart() {
  queue_ = std::make_unique<kube::WorkQueue>(kube::WorkQueueOptions{}, clock_);
  Caches caches{nullptr, nullptr, nullptr, {}};
  for (const auto& feed : feeds_) {
    feed->reflector.reset();
    feed->cache = std::make_unique<kube::Cache>(feed->resource);
    feed->cache->AddHandler([this, f = feed.get()](const kube::Change& change) {
      for (const kube::ObjectKey& key : AffectedBy(change, f->resource, *feeds_[0]->cache)) queue_->Add(key);
    });
    if (feed->resource.kind == kube::kInferenceDeployments.kind) {
      caches.inference_deployments = feed->cache.get();
    } else if (feed->resource.kind == kube::kAcceleratorClasses.kind) {
      caches.accelerator_classes = feed->cache.get();
    } else if (feed->resource.kind == kube::kNodes.kind) {
      caches.nodes = feed->cache.get();
    } else {
      caches.children.push_back(feed->cache.get());
    }
  }
  ReconcilerOptions options;
  options.images = {"patella-engine:1", "patella-sidecar:1"};
  options.operator_name = operator_name_;
  options.record = [this](kube::Event event) { told_.push_back(std::move(event)); };
  options.wall_time = [this] {
    return WallTime(std::chrono::seconds(1'800'000'000)) + clock_.Now().time_since_epoch();
  };
  reconciler_ = std::make_unique<Reconciler>(&client, caches, clock_, options);
  for (const auto& feed : feeds_) {
    kube::ReflectorOptions following{.label_selector = feed->selector, .watch_list = watch_list_};
    following.seed = static_cast<uint64_t>(random.UniformInt(1, 1'000'000));
    feed->reflector = std::make_unique<kube::Reflector>(&client, feed->cache.get(), following, clock_);
  }
  Reflect();
}

void World::Create() {
  const reconcile::Inputs inputs = reconcile::Sample(sample_);
  const auto created = store.Create(kube::kInferenceDeployments, kNamespace, api::PrintJson(inputs.deployment));
  ASSERT_TRUE(created.ok()) << created.status();
}

void World::Patch(const std::string& merge_patch) {
  store.MergePatch(kube::kInferenceDeployments, kNamespace, kName, merge_patch).IgnoreError();
}

void World::Delete(const kube::Resource& resource, const std::string& name) {
  store.Delete(resource, kNamespace, name).IgnoreError();
}

std::optional<Duration> World::Reflect() {
  std::optional<Duration> soonest;
  for (const auto& feed : feeds_) {
    std::optional<Duration> pause;
    do {
      pause = feed->reflector->Step();
    } while (pause == Duration::zero());
    if (pause) soonest = std::min(*pause, soonest.value_or(*pause));
    if (feed->watch != nullptr) feed->watch->Fetch();
  }
  return soonest;
}

void World::Deliver(Feed& feed, size_t index) {
  feed.watch->Deliver(index);
  feed.reflector->Step();
}

void World::Break(Feed& feed) {
  if (feed.watch == nullptr) return;
  feed.watch->Break(kube::ToStatus({410, "Expired", "too old resource version", {}, {}},
                                   {"watch", kube::QualifiedName(feed.resource), "", "", "", ""}));
}

bool World::Work() {
  for (const auto& feed : feeds_) {
    if (!feed->reflector->HasSynced()) return false;
  }
  const std::optional<kube::ObjectKey> key = queue_->TryGet();
  if (!key) return false;
  const absl::StatusOr<kube::ReconcileResult> result = reconciler_->Reconcile(*key);
  if (!result.ok()) {
    queue_->AddRateLimited(*key);
  } else {
    queue_->Forget(*key);
    if (result->requeue_after) queue_->AddAfter(*key, *result->requeue_after);
  }
  queue_->Done(*key);
  return true;
}

bool World::CollectGarbage() {
  bool collected = false;
  const std::vector<kube::ObjectPtr> owners = All(kube::kInferenceDeployments);
  for (const kube::Resource& kind : ChildResources()) {
    for (const kube::ObjectPtr& child : All(kind)) {
      const auto is_owner = [&](const kube::ObjectPtr& owner) { return owner->uid() == child->controller_uid(); };
      if (std::any_of(owners.begin(), owners.end(), is_owner)) continue;
      Delete(kind, std::string(child->name()));
      collected = true;
    }
  }
  return collected;
}

bool World::MovePods(bool one) {
  bool moved = false;
  for (const kube::ObjectPtr& object : All(kube::kDeployments)) {
    if (one && random.Uniform() < 0.5) continue;
    const json deployment = json::parse(object->json());
    const json before = deployment.value("status", json::object());
    const int wanted = deployment["spec"]["replicas"];
    int present = before.value("replicas", 0), ready = before.value("readyReplicas", 0);
    if (present != wanted) {
      present += present < wanted ? 1 : -1;
      ready = std::min(ready, present);
    } else if (ready < present) {
      ++ready;
    }
    const json status = {{"observedGeneration", object->generation()},
                         {"replicas", present},
                         {"readyReplicas", ready},
                         {"updatedReplicas", present}};
    if (status == before) continue;
    moved = true;
    EXPECT_TRUE(store
                    .MergePatch(kube::kDeployments, object->namespace_name(), object->name(),
                                json{{"status", status}}.dump(), {.manager = "kubelet", .subresource = "status"})
                    .ok());
  }
  return moved;
}

void World::Step(bool chaos) {
  Reflect();
  Feed& feed = *feeds_[static_cast<size_t>(random.UniformInt(0, static_cast<int64_t>(feeds_.size()) - 1))];
  const double what = random.Uniform();
  if (what < 0.5) {
    if (feed.watch == nullptr || feed.watch->arriving.empty()) return;
    std::deque<kube::WatchEvent>& arriving = feed.watch->arriving;
    const auto last = static_cast<int64_t>(arriving.size()) - 1;
    const auto index = static_cast<size_t>(chaos ? random.UniformInt(0, last) : 0);
    if (chaos && random.Uniform() < 0.15) arriving.push_back(arriving[index]);
    if (chaos && random.Uniform() < 0.1) {
      arriving.erase(arriving.begin() + static_cast<long>(index));
      return;
    }
    Deliver(feed, index);
  } else if (what < 0.75) {
    Work();
  } else if (what < 0.9) {
    MovePods(/*one=*/true);
  } else if (what < 0.95) {
    clock_.Advance(FromSeconds(random.Uniform(0, 5)));
  } else if (chaos && what < 0.96) {
    Break(feed);
  }
}

bool World::Turn() {
  bool busy = false;
  Reflect();
  for (const auto& feed : feeds_) {
    for (; feed->watch != nullptr && !feed->watch->arriving.empty(); busy = true) Deliver(*feed, 0);
  }
  while (Work()) busy = true;
  return busy;
}

bool World::Settle() {
  for (const auto& feed : feeds_) Break(*feed);
  bool looked_again = false;
  for (int step = 0; step < kMostSteps; ++step) {
    const std::optional<Duration> reflectors_pause = Reflect();
    bool busy = Turn();
    if (MovePods(/*one=*/false) || CollectGarbage()) busy = true;
    if (busy) continue;
    std::optional<TimePoint> next = queue_->NextDelayed();
    if (reflectors_pause) next = std::min(clock_.Now() + *reflectors_pause, next.value_or(TimePoint::max()));
    if (next && *next - clock_.Now() < kLong) {
      clock_.Advance(*next - clock_.Now());
    } else if (next && !looked_again) {
      clock_.Advance(*next - clock_.Now());
      looked_again = true;
    } else {
      return true;
    }
  }
  return false;
}

std::vector<kube::ObjectPtr> World::All(const kube::Resource& resource) {
  const auto page = store.List(resource, {.limit = 0});
  EXPECT_TRUE(page.ok());
  return page.ok() ? page->items : std::vector<kube::ObjectPtr>();
}

std::vector<std::string> World::Names(const kube::Resource& resource) {
  std::vector<std::string> names;
  for (const kube::ObjectPtr& object : All(resource)) names.emplace_back(object->name());
  return names;
}

std::string World::State() {
  std::string state;
  std::vector<kube::Resource> all = ChildResources();
  all.push_back(kube::kInferenceDeployments);
  for (const kube::Resource& resource : all) {
    for (const kube::ObjectPtr& object : All(resource)) {
      json body = json::parse(object->json());
      if (resource.kind == kube::kSecrets.kind) body["data"] = "secret";
      Neutral(body);
      StrAppend(&state, "--- ", kube::QualifiedName(resource), "/", object->name(), "\n", body.dump(1), "\n");
    }
  }
  return state;
}

int World::ReadyPods() {
  int ready = 0;
  for (const kube::ObjectPtr& object : All(kube::kDeployments))
    ready += json::parse(object->json()).value("status", json::object()).value("readyReplicas", 0);
  return ready;
}

}  // namespace patella::apply
