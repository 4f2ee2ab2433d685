// Caches, queue and workers together over a MemoryClient that misbehaves.
#include <gtest/gtest.h>

#include <mutex>
#include <nlohmann/json.hpp>

#include "lib/base/random.h"
#include "lib/kube/controller.h"
#include "lib/kube/memory_client.h"
#include "tests/unit/kube/until.h"
#include "tests/unit/seed.h"

namespace patella::kube {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::string Numbered(const std::string& name, int number) {
  return json{{"metadata", {{"name", name}}}, {"data", {{"n", std::to_string(number)}}}}.dump();
}

// A controller that copies data.n of each ConfigMap into a ServiceAccount's annotation.
TEST(ManagerTest, EveryChangeArrivesThroughCutWatchesCompactionAndFailingCalls) {
  MemoryClient client;
  SteadyClock clock;
  metrics::Metrics metrics("test", "0");
  Manager manager(&client, clock, {.metrics = &metrics});
  Cache& sources = manager.Watch(kConfigMaps);
  std::mutex mutex;
  std::map<std::string, std::string> seen;
  std::map<std::string, int> attempts;
  Controller& controller =
      manager.AddController({.name = "copy", .workers = 3, .queue = {.bucket_per_second = 1e5, .bucket_size = 100000}},
                            [&](const ObjectKey& key) -> absl::StatusOr<ReconcileResult> {
                              const std::lock_guard lock(mutex);
                              if (++attempts[key.name] % 3 == 1) return absl::UnavailableError("try again");
                              const ObjectPtr object = sources.Get(key);
                              if (object == nullptr) {
                                seen.erase(key.name);
                              } else {
                                seen[key.name] = json::parse(object->json())["data"]["n"];
                              }
                              return ReconcileResult{};
                            });
  controller.ReconcileOn(sources);
  client.Create(kConfigMaps, "n", Numbered("early", 1)).IgnoreError();
  ASSERT_TRUE(manager.StartCaches(seconds(10)).ok());
  manager.StartWorkers();

  Random random(Seed(5));
  std::map<std::string, std::string> truth{{"early", "1"}};
  for (int i = 0; i < 400; ++i) {
    const std::string name = "o" + std::to_string(random.UniformInt(0, 20));
    const double what = random.Uniform();
    if (what < 0.03) client.EndWatches();
    if (what > 0.97) client.EndWatches(absl::UnavailableError("cut"));
    if (what > 0.45 && what < 0.47) client.Compact(), client.EndWatches();
    if (random.Uniform() < 0.3 && truth.contains(name)) {
      ASSERT_TRUE(client.Delete(kConfigMaps, "n", name).ok());
      truth.erase(name);
    } else if (truth.contains(name)) {
      ASSERT_TRUE(client.MergePatch(kConfigMaps, "n", name, Numbered(name, i)).ok());
      truth[name] = std::to_string(i);
    } else {
      ASSERT_TRUE(client.Create(kConfigMaps, "n", Numbered(name, i)).ok());
      truth[name] = std::to_string(i);
    }
  }
  EXPECT_TRUE(Until([&] {
    const std::lock_guard lock(mutex);
    return seen == truth;
  }));
  manager.Stop();
  EXPECT_NE(metrics.Expose().find("controller_runtime_reconcile_total{controller=\"copy\",result=\"success\"}"),
            std::string::npos);
}

TEST(ManagerTest, CachesThatCannotFillAreNamedWithTheirError) {
  MemoryClient client;
  client.SetHook([](const MemoryClient::CallInfo& call) {
    return call.resource.kind == "Node"
               ? ToStatus(ApiError{403, "Forbidden", "no", {}, {}}, {"list", "nodes", "", "", "", ""})
               : absl::OkStatus();
  });
  SteadyClock clock;
  Manager manager(&client, clock);
  manager.Watch(kConfigMaps);
  manager.Watch(kNodes);
  const absl::Status status = manager.StartCaches(milliseconds(300));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_NE(std::string(status.message()).find("nodes"), std::string::npos) << status;
  EXPECT_EQ(std::string(status.message()).find("configmaps"), std::string::npos) << status;
  manager.Stop();
}

TEST(ManagerTest, ATerminalErrorWaitsForAChange) {
  MemoryClient client;
  SteadyClock clock;
  Manager manager(&client, clock);
  Cache& sources = manager.Watch(kConfigMaps);
  std::atomic<int> calls = 0;
  Controller& controller =
      manager.AddController({.name = "t"}, [&](const ObjectKey&) -> absl::StatusOr<ReconcileResult> {
        ++calls;
        return TerminalError(absl::InvalidArgumentError("cannot work"));
      });
  controller.ReconcileOn(sources);
  ASSERT_TRUE(manager.StartCaches(seconds(10)).ok());
  manager.StartWorkers();
  client.Create(kConfigMaps, "n", Numbered("a", 1)).IgnoreError();
  ASSERT_TRUE(Until([&] { return calls == 1; }));
  EXPECT_EQ(controller.queue().Delayed(), 0u);
  client.MergePatch(kConfigMaps, "n", "a", Numbered("a", 2)).IgnoreError();
  EXPECT_TRUE(Until([&] { return calls == 2; }));
  manager.Stop();
}

int CountOf(const std::string& part, const std::string& text) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ManagerTest, AnErrorThatRepeatsIsLoggedOnceAndItsEndToo) {
  MemoryClient client;
  SteadyClock clock;
  Manager manager(&client, clock);
  std::atomic<int> calls = 0;
  Controller& controller =
      manager.AddController({.name = "t"}, [&](const ObjectKey&) -> absl::StatusOr<ReconcileResult> {
        const int call = ++calls;
        if (call == 3) return ReconcileResult{.requeue_after = std::chrono::milliseconds(1), .waits = true};
        if (call <= 4) return absl::UnavailableError("first cause");
        if (call <= 7) return absl::UnavailableError("second cause");
        return ReconcileResult{};
      });
  testing::internal::CaptureStderr();
  manager.StartWorkers();
  controller.Enqueue({"n", "a"});
  const bool enough = Until([&] { return calls == 8; });
  manager.Stop();
  const std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(enough);
  EXPECT_EQ(CountOf("first cause", log), 1) << log;
  EXPECT_EQ(CountOf("second cause", log), 1) << log;
  EXPECT_EQ(CountOf("reconciled again", log), 1) << log;
}

TEST(ManagerTest, OwnersAreReconciledWhenWhatTheyControlChanges) {
  MemoryClient client;
  SteadyClock clock;
  Manager manager(&client, clock);
  Cache& children = manager.Watch(kConfigMaps, {.label_selector = "ours=yes"});
  std::mutex mutex;
  std::vector<std::string> keys;
  Controller& controller =
      manager.AddController({.name = "o"}, [&](const ObjectKey& key) -> absl::StatusOr<ReconcileResult> {
        const std::lock_guard lock(mutex);
        keys.push_back(key.ToString());
        return ReconcileResult{};
      });
  controller.ReconcileOwnerOf(children, "InferenceDeployment");
  ASSERT_TRUE(manager.StartCaches(seconds(10)).ok());
  manager.StartWorkers();
  json child = json::parse(Numbered("c", 1));
  child["metadata"]["labels"] = {{"ours", "yes"}};
  child["metadata"]["ownerReferences"] = {
      {{"kind", "InferenceDeployment"}, {"name", "idep"}, {"uid", "u"}, {"controller", true}}};
  client.Create(kConfigMaps, "n", child.dump()).IgnoreError();
  EXPECT_TRUE(Until([&] {
    const std::lock_guard lock(mutex);
    return keys == std::vector<std::string>{"n/idep"};
  }));
  manager.Stop();
}

}  // namespace
}  // namespace patella::kube
