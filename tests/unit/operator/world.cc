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

}  // namespace

World::World(uint64_t seed, const std::string& sample) : random(seed), sample_(sample) {
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
  Restart();
}

void World::Restart() {
  queue_ = std::make_unique<kube::WorkQueue>(kube::WorkQueueOptions{}, clock_);
  Caches caches{nullptr, nullptr, nullptr, {}};
  for (const auto& feed : feeds_) {
    feed->arriving.clear();
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
  options.record = [this](kube::Event event) { told_.push_back(std::move(event)); };
  options.wall_time = [this] {
    return WallTime(std::chrono::seconds(1'800'000'000)) + clock_.Now().time_since_epoch();
  };
  reconciler_ = std::make_unique<Reconciler>(&client, caches, clock_, options);
  for (const auto& feed : feeds_) Relist(*feed);
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

void World::Fetch() {
  for (const auto& feed : feeds_) {
    while (true) {
      const auto event = feed->stream->Next(Duration::zero());
      if (!event.ok() || event->type == kube::WatchEventType::kNothingYet) break;
      if (event->type != kube::WatchEventType::kBookmark) feed->arriving.push_back(*event);
    }
  }
}

void World::Deliver(Feed& feed, size_t index) {
  const kube::WatchEvent event = feed.arriving[index];
  feed.arriving.erase(feed.arriving.begin() + static_cast<long>(index));
  if (event.type == kube::WatchEventType::kDeleted) {
    feed.cache->Remove(event.object);
  } else {
    feed.cache->Set(event.object);
  }
}

void World::Relist(Feed& feed) {
  const auto page = store.List(feed.resource, {.label_selector = feed.selector, .limit = 0});
  ASSERT_TRUE(page.ok());
  feed.cache->Replace("", page->items, page->resource_version, false);
  feed.stream =
      store.Watch(feed.resource, {.label_selector = feed.selector, .resource_version = page->resource_version});
  feed.gap = false;
}

bool World::Work() {
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
  Fetch();
  Feed& feed = *feeds_[static_cast<size_t>(random.UniformInt(0, static_cast<int64_t>(feeds_.size()) - 1))];
  const double what = random.Uniform();
  if (what < 0.5) {
    if (feed.arriving.empty()) return;
    const auto last = static_cast<int64_t>(feed.arriving.size()) - 1;
    const auto index = static_cast<size_t>(chaos ? random.UniformInt(0, last) : 0);
    if (chaos && random.Uniform() < 0.15) feed.arriving.push_back(feed.arriving[index]);
    if (chaos && random.Uniform() < 0.1) {
      feed.arriving.erase(feed.arriving.begin() + static_cast<long>(index));
      feed.gap = true;
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
    Relist(feed);
  }
}

bool World::Settle() {
  for (const auto& feed : feeds_) {
    Fetch();
    feed->arriving.clear();
    Relist(*feed);
  }
  bool looked_again = false;
  for (int step = 0; step < kMostSteps; ++step) {
    Fetch();
    bool busy = false;
    for (const auto& feed : feeds_) {
      for (; !feed->arriving.empty(); busy = true) Deliver(*feed, 0);
    }
    while (Work()) busy = true;
    if (MovePods(/*one=*/false) || CollectGarbage()) busy = true;
    if (busy) continue;
    const std::optional<TimePoint> next = queue_->NextDelayed();
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
