#include "lib/kube/memory_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/kube/selector.h"

namespace patella::kube {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr Duration kSoon = milliseconds(20);

json JsonOf(const absl::StatusOr<ObjectPtr>& object) {
  return object.ok() ? json::parse((*object)->json()) : json{{"error", object.status().ToString()}};
}

std::string MapNamed(const std::string& name, const json& rest = json::object()) {
  json object = {{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", name}}}};
  object.merge_patch(rest);
  return object.dump();
}

class MemoryClientTest : public testing::Test {
 protected:
  absl::StatusOr<ObjectPtr> Apply(const std::string& manager, const json& rest, bool force = false,
                                  const std::string& subresource = "") {
    return client_.Apply(kConfigMaps, "n", "a", MapNamed("a", rest), {manager, force, subresource});
  }
  MemoryClient client_;
};

TEST_F(MemoryClientTest, CreatingTwiceIsAConflictAndAnOldVersionToo) {
  ASSERT_TRUE(client_.Create(kConfigMaps, "n", MapNamed("a")).ok());
  EXPECT_TRUE(kube::IsAlreadyExists(client_.Create(kConfigMaps, "n", MapNamed("a")).status()));
  const auto old = client_.Get(kConfigMaps, "n", "a");
  ASSERT_TRUE(client_.MergePatch(kConfigMaps, "n", "a", R"({"data":{"x":"1"}})").ok());
  EXPECT_TRUE(IsConflict(client_.Update(kConfigMaps, "n", "a", (*old)->json()).status()));
  EXPECT_TRUE(kube::IsNotFound(client_.Get(kConfigMaps, "n", "b").status()));
}

TEST_F(MemoryClientTest, AWriteThatChangesNothingKeepsTheVersion) {
  const auto first = Apply("m", {{"data", {{"x", "1"}}}});
  const auto second = Apply("m", {{"data", {{"x", "1"}}}});
  EXPECT_EQ((*first)->resource_version(), (*second)->resource_version());
  const auto third = Apply("m", {{"data", {{"x", "2"}}}});
  EXPECT_NE((*second)->resource_version(), (*third)->resource_version());
  EXPECT_EQ((*third)->generation(), 2);
}

TEST_F(MemoryClientTest, ApplyRemovesWhatItsManagerNoLongerWantsAndNothingElse) {
  Apply("m", {{"data", {{"x", "1"}, {"y", "1"}}}}).IgnoreError();
  ASSERT_TRUE(
      client_.MergePatch(kConfigMaps, "n", "a", R"({"data":{"user":"u"},"metadata":{"labels":{"team":"t"}}})").ok());
  Apply("other", {{"data", {{"y", "1"}}}}).IgnoreError();
  const json now = JsonOf(Apply("m", {{"metadata", {{"labels", {{"a", "b"}}}}}}));
  EXPECT_EQ(now["data"], (json{{"user", "u"}, {"y", "1"}}));
  EXPECT_EQ(now["metadata"]["labels"], (json{{"team", "t"}, {"a", "b"}}));
}

TEST_F(MemoryClientTest, AnIntentOfNothingGivesUpAllAndAnotherMayFollow) {
  Apply("m", {{"data", {{"x", "1"}}}}).IgnoreError();
  EXPECT_FALSE(JsonOf(Apply("m", json::object())).contains("data"));
  EXPECT_EQ(JsonOf(Apply("m", {{"data", {{"x", "2"}}}}))["data"]["x"], "2");
}

TEST_F(MemoryClientTest, AConflictNamesFieldAndManagerUnlessForced) {
  Apply("m", {{"data", {{"x", "1"}}}}).IgnoreError();
  const auto refused = Apply("other", {{"data", {{"x", "2"}}}});
  EXPECT_TRUE(IsConflict(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(".data.x"));
  EXPECT_EQ(JsonOf(client_.Get(kConfigMaps, "n", "a"))["data"]["x"], "1");
  EXPECT_EQ(JsonOf(Apply("other", {{"data", {{"x", "2"}}}}, true))["data"]["x"], "2");
  EXPECT_EQ(JsonOf(Apply("m", json::object()))["data"]["x"], "2") << "m lost it";
}

TEST_F(MemoryClientTest, ListsWithKeysMergeByItem) {
  Apply("m", json::object()).IgnoreError();
  const auto condition = [](const char* type, const char* status) {
    return json{{"status", {{"conditions", {{{"type", type}, {"status", status}}}}}}};
  };
  Apply("operator", condition("Ready", "False"), false, "status").IgnoreError();
  Apply("tuner", condition("Tuned", "True"), false, "status").IgnoreError();
  const json now = JsonOf(Apply("operator", condition("Ready", "True"), false, "status"));
  EXPECT_EQ(now["status"]["conditions"],
            json::parse(R"([{"type":"Ready","status":"True"},{"type":"Tuned","status":"True"}])"));
  const json later = JsonOf(Apply("tuner", json::object(), false, "status"));
  EXPECT_EQ(later["status"]["conditions"], json::parse(R"([{"type":"Ready","status":"True"}])"));
}

TEST_F(MemoryClientTest, StatusAndTheRestDoNotTouchEachOther) {
  Apply("m", {{"data", {{"x", "1"}}}, {"status", {{"a", 1}}}}).IgnoreError();
  EXPECT_FALSE(JsonOf(client_.Get(kConfigMaps, "n", "a")).contains("status"));
  const json status = JsonOf(
      client_.MergePatch(kConfigMaps, "n", "a", R"({"data":{"x":"9"},"status":{"a":2}})", {.subresource = "status"}));
  EXPECT_EQ(status["data"]["x"], "1");
  EXPECT_EQ(status["status"]["a"], 2);
  EXPECT_EQ(status["metadata"]["generation"], 1);
}

TEST_F(MemoryClientTest, WhatADeletedObjectOwnsGoesWithIt) {
  const auto owner = client_.Create(kConfigMaps, "n", MapNamed("owner"));
  const json owned = {
      {"metadata", {{"ownerReferences", {{{"uid", (*owner)->uid()}, {"kind", "ConfigMap"}, {"name", "owner"}}}}}}};
  ASSERT_TRUE(client_.Create(kConfigMaps, "n", MapNamed("child", owned)).ok());
  ASSERT_TRUE(client_.Delete(kConfigMaps, "n", "owner").ok());
  EXPECT_TRUE(kube::IsNotFound(client_.Get(kConfigMaps, "n", "child").status()));
}

TEST_F(MemoryClientTest, AFinalizerHoldsTheObjectUntilItIsGone) {
  ASSERT_TRUE(client_.Create(kConfigMaps, "n", MapNamed("a", {{"metadata", {{"finalizers", {"x/y"}}}}})).ok());
  ASSERT_TRUE(client_.Delete(kConfigMaps, "n", "a").ok());
  EXPECT_TRUE((*client_.Get(kConfigMaps, "n", "a"))->deleting());
  client_.MergePatch(kConfigMaps, "n", "a", R"({"metadata":{"finalizers":null}})").IgnoreError();
  EXPECT_TRUE(kube::IsNotFound(client_.Get(kConfigMaps, "n", "a").status()));
}

TEST_F(MemoryClientTest, AWatchTellsWhatEntersAndLeavesItsSelection) {
  const auto watch =
      client_.Watch(kConfigMaps, {.namespace_name = "n", .label_selector = "on=yes", .send_initial_events = true});
  EXPECT_TRUE(watch->Next(kSoon)->object->initial_events_end());
  client_.Create(kConfigMaps, "n", MapNamed("a")).IgnoreError();
  client_.Create(kConfigMaps, "elsewhere", MapNamed("a", {{"metadata", {{"labels", {{"on", "yes"}}}}}})).IgnoreError();
  EXPECT_EQ(watch->Next(kSoon)->type, WatchEventType::kNothingYet);
  client_.MergePatch(kConfigMaps, "n", "a", R"({"metadata":{"labels":{"on":"yes"}}})").IgnoreError();
  EXPECT_EQ(watch->Next(kSoon)->type, WatchEventType::kAdded);
  client_.MergePatch(kConfigMaps, "n", "a", R"({"data":{"x":"1"}})").IgnoreError();
  EXPECT_EQ(watch->Next(kSoon)->type, WatchEventType::kModified);
  client_.MergePatch(kConfigMaps, "n", "a", R"({"metadata":{"labels":{"on":null}}})").IgnoreError();
  EXPECT_EQ(watch->Next(kSoon)->type, WatchEventType::kDeleted);
  client_.EndWatches();
  EXPECT_EQ(watch->Next(kSoon)->type, WatchEventType::kEnd);
}

TEST_F(MemoryClientTest, AWatchFromBeforeACompactionIsExpired) {
  const auto old = client_.Create(kConfigMaps, "n", MapNamed("a"));
  client_.Create(kConfigMaps, "n", MapNamed("b")).IgnoreError();
  client_.Compact();
  const auto watch = client_.Watch(kConfigMaps, {.resource_version = std::string((*old)->resource_version())});
  EXPECT_TRUE(IsExpired(watch->Next(kSoon).status()));
}

TEST_F(MemoryClientTest, TheHookFailsACallBeforeItsWork) {
  client_.SetHook([](const MemoryClient::CallInfo& call) {
    return call.verb == "create" ? absl::UnavailableError("down") : absl::OkStatus();
  });
  EXPECT_TRUE(absl::IsUnavailable(client_.Create(kConfigMaps, "n", MapNamed("a")).status()));
  client_.SetHook(nullptr);
  EXPECT_TRUE(kube::IsNotFound(client_.Get(kConfigMaps, "n", "a").status()));
  client_.Create(kConfigMaps, "n", MapNamed("a")).IgnoreError();
  EXPECT_THAT(client_.Writes(), ElementsAre("create configmaps n/a"));
}

TEST_F(MemoryClientTest, ScaleIsSpecReplicas) {
  client_.Create(kDeployments, "n", R"({"metadata":{"name":"d"},"spec":{"replicas":1}})").IgnoreError();
  EXPECT_EQ(client_.SetScale(kDeployments, "n", "d", 3)->replicas, 3);
  EXPECT_EQ(client_.GetScale(kDeployments, "n", "d")->replicas, 3);
  EXPECT_TRUE(IsConflict(client_.SetScale(kDeployments, "n", "d", 4, "1").status()));
}

TEST(SelectorTest, ReadsTheApiServersSyntax) {
  const auto object = *Object::Parse(R"({"metadata":{"name":"a","labels":{"x":"1","y":"2"}}})");
  for (const char* yes : {"", "x=1", "x==1,y!=3", "x in (1,2),y", "z notin (1)", "!z", " x = 1 , y"})
    EXPECT_TRUE(Selector::Parse(yes, "")->Matches(*object)) << yes;
  for (const char* no : {"x=2", "x!=1", "z", "!x", "x in (2,3)", "y notin (2)"})
    EXPECT_FALSE(Selector::Parse(no, "")->Matches(*object)) << no;
  for (const char* bad : {"x in", "=1", "x near (1)", "a b"}) EXPECT_FALSE(Selector::Parse(bad, "").ok()) << bad;
  EXPECT_TRUE(Selector::Parse("", "metadata.name=a")->Matches(*object));
  EXPECT_FALSE(Selector::Parse("", "status.phase=Running").ok());
}

}  // namespace
}  // namespace patella::kube
