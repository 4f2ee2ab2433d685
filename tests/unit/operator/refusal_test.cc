// What the API server, or this operator, will not take shows on the object: which condition, with what reason and whose words.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/text.h"
#include "tests/unit/operator/world.h"
#include "tests/unit/seed.h"

namespace patella::apply {
namespace {

using nlohmann::json;

json Condition(World& world, const std::string& type) {
  for (const kube::ObjectPtr& object : world.All(kube::kInferenceDeployments)) {
    const json status = json::parse(object->json()).value("status", json::object());
    for (const json& condition : status.value("conditions", json::array())) {
      if (condition["type"] == type) return condition;
    }
  }
  return {{"status", "missing"}, {"reason", "missing"}, {"message", ""}};
}

std::string Short(const json& condition) {
  return StrCat(condition["status"].get<std::string>(), " ", condition["reason"].get<std::string>());
}

void Act(World& world) {
  for (int step = 0; step < 1000; ++step) world.Step(/*chaos=*/false);
}

struct Refusal {
  const char* name;
  int code;
  const char* api_reason;
  const char* expected;  // status and reason of Stalled
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

class RefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(RefusalTest, OfADeploymentIsTheConditionStalledUntilItIsTaken) {
  World world(Seed(1));
  world.client.Set([](std::string_view verb, const kube::Resource& resource) -> FaultyClient::Fault {
    if (verb != "apply" || resource.kind != kube::kDeployments.kind) return {};
    return {kube::ToStatus({GetParam().code, GetParam().api_reason, "the quota's own words", {}, {}},
                           {"apply", "deployments.apps", "", kNamespace, "x", "test"})};
  });
  world.Create();
  Act(world);
  EXPECT_EQ(Short(Condition(world, "Stalled")), GetParam().expected);
  EXPECT_EQ(
      Condition(world, "Stalled")["message"].get<std::string>().find("the quota's own words") != std::string::npos,
      std::string(GetParam().expected).starts_with("True"));
  EXPECT_EQ(Short(Condition(world, "Ready")), "False NotReady");
  world.client.Set(nullptr);
  ASSERT_TRUE(world.Settle());
  EXPECT_EQ(Short(Condition(world, "Stalled")), "False AsExpected");
  EXPECT_EQ(Short(Condition(world, "Ready")), "True Serving");
}

INSTANTIATE_TEST_SUITE_P(Answers, RefusalTest,
                         ::testing::Values(Refusal{"Forbidden", 403, "Forbidden", "True Forbidden"},
                                           Refusal{"BadRequest", 400, "BadRequest", "True Rejected"},
                                           Refusal{"Invalid", 422, "Invalid", "True Rejected"},
                                           Refusal{"TooLarge", 413, "RequestEntityTooLarge", "True Rejected"},
                                           Refusal{"BusyIsNone", 429, "TooManyRequests", "False AsExpected"},
                                           Refusal{"AwayIsNone", 503, "ServiceUnavailable", "False AsExpected"}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(RefusedTest, ANameThatIsTakenIsTheConditionStalled) {
  World world(Seed(1));
  const json theirs = {{"apiVersion", "v1"}, {"kind", "Service"}, {"metadata", {{"name", kName}}}};
  ASSERT_TRUE(world.store.Create(kube::kServices, kNamespace, theirs.dump()).ok());
  world.Create();
  Act(world);
  EXPECT_EQ(Short(Condition(world, "Stalled")), "True NameTaken");
  world.Delete(kube::kServices, kName);
  ASSERT_TRUE(world.Settle());
  EXPECT_EQ(Short(Condition(world, "Stalled")), "False AsExpected");
}

// An older schema of the cluster may let it through.
TEST(RefusedTest, ASpecThatCannotBeReadIsInvalidSpecAndWhatServesStays) {
  World world(Seed(1));
  world.Create();
  ASSERT_TRUE(world.Settle());
  const json before = json::parse(world.All(kube::kInferenceDeployments)[0]->json())["spec"];
  const std::vector<std::string> deployments = world.Names(kube::kDeployments);
  const int ready = world.ReadyPods();
  ASSERT_GT(ready, 0);
  world.Patch(R"({"spec":{"engine":"nonsense"}})");
  ASSERT_TRUE(world.Settle());
  EXPECT_EQ(Short(Condition(world, "Stalled")), "True InvalidSpec");
  EXPECT_EQ(Short(Condition(world, "Ready")), "True InvalidSpec");
  EXPECT_EQ(Short(Condition(world, "Reconciling")), "False InvalidSpec");
  EXPECT_NE(Condition(world, "Stalled")["message"].get<std::string>().find("engine"), std::string::npos);
  EXPECT_EQ(world.Names(kube::kDeployments), deployments);
  EXPECT_EQ(world.ReadyPods(), ready);
  world.Patch(R"({"spec":{"engine":null}})");
  world.Patch(json{{"spec", before}}.dump());
  ASSERT_TRUE(world.Settle());
  EXPECT_EQ(Short(Condition(world, "Stalled")), "False AsExpected");
  EXPECT_EQ(Short(Condition(world, "Ready")), "True Serving");
}

TEST(RefusedTest, ASpecThatCouldNeverBeReadIsNotReady) {
  World world(Seed(1));
  world.Create();
  world.Patch(R"({"spec":{"engine":"nonsense"}})");
  ASSERT_TRUE(world.Settle());
  EXPECT_EQ(Short(Condition(world, "Stalled")), "True InvalidSpec");
  EXPECT_EQ(Short(Condition(world, "Ready")), "False InvalidSpec");
  EXPECT_EQ(world.Names(kube::kDeployments), std::vector<std::string>());
}

}  // namespace
}  // namespace patella::apply
