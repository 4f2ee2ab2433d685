#include "operator/render/render.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/base/text.h"
#include "tests/unit/operator/samples.h"

namespace patella::render {
namespace {

using nlohmann::json;
using reconcile::Inputs;
using reconcile::Plan;
using reconcile::Reconcile;

const Owner kOwner{"demo", "smollm2", "4f1f6a3e-0000-4000-8000-000000000001"};

Owner OwnerOf(const Inputs& inputs) {
  return {inputs.deployment.metadata.namespace_name, inputs.deployment.metadata.name, kOwner.uid};
}

std::string GoldenText(const Inputs& inputs) {
  const Plan plan = Reconcile(inputs, TimePoint{});
  std::string out;
  for (const Child& child : Render(plan, OwnerOf(inputs))) {
    StrAppend(&out, "--- ", kube::QualifiedName(child.resource), "/", child.name, "\n", json::parse(child.json).dump(2),
              "\n");
  }
  const std::string status = RenderStatus(plan, OwnerOf(inputs), "{}", "2026-01-02T03:04:05Z");
  StrAppend(&out, "--- status\n", json::parse(status)["status"].dump(2), "\n");
  return out;
}

class GoldenChildrenTest : public ::testing::TestWithParam<const char*> {};

// PATELLA_GOLDEN=write rewrites the golden files.
TEST_P(GoldenChildrenTest, AreWhatTheyWere) {
  Inputs inputs = reconcile::Sample(GetParam());
  inputs.nodes = {reconcile::NodeWith("a100-40g", 8)};
  const std::string path = StrCat(PATELLA_TEST_DATA "/", GetParam(), ".children");
  const std::string text = GoldenText(inputs);
  if (const char* mode = std::getenv("PATELLA_GOLDEN"); mode != nullptr && std::string(mode) == "write")
    std::ofstream(path) << text;
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(text, golden.str());
}

INSTANTIATE_TEST_SUITE_P(Samples, GoldenChildrenTest, ::testing::Values("cpu", "gpu", "vllm"),
                         [](const auto& info) { return std::string(info.param); });

json ChildNamed(const Plan& plan, const kube::Resource& resource, const std::string& name) {
  for (const Child& child : Render(plan, kOwner)) {
    if (child.resource.kind == resource.kind && child.name == name) return json::parse(child.json);
  }
  return nullptr;
}

TEST(RenderTest, EveryChildIsControlledByItsInferenceDeployment) {
  for (const char* sample : {"cpu", "gpu", "vllm"}) {
    for (const Child& child : Render(Reconcile(reconcile::Sample(sample), TimePoint{}), kOwner)) {
      const json body = json::parse(child.json);
      const json owner = body["metadata"]["ownerReferences"];
      ASSERT_EQ(owner.size(), 1u) << child.name;
      EXPECT_EQ(owner[0]["uid"], kOwner.uid);
      EXPECT_EQ(owner[0]["controller"], true);
      EXPECT_EQ(body["metadata"]["labels"]["app.kubernetes.io/managed-by"], "patella");
    }
  }
}

TEST(RenderTest, ASidecarMayTouchOneObjectsStatusAndScaleAndOneLease) {
  const json role = ChildNamed(Reconcile(reconcile::Sample("cpu"), TimePoint{}), kube::kRoles, "smollm2-autotuner");
  ASSERT_EQ(role["rules"].size(), 4u);
  for (const json& rule : role["rules"]) {
    ASSERT_EQ(rule["resourceNames"].size(), 1u);
    for (const json& verb : rule["verbs"]) EXPECT_TRUE(verb != "create" && verb != "delete" && verb != "*");
    if (rule["resources"][0] != "inferencedeployments") continue;
    EXPECT_EQ(rule["verbs"], json({"get", "list", "watch"}));
  }
}

TEST(RenderTest, TheUsersOwnPartsOfThePodArriveAsTheyStand) {
  Inputs inputs = reconcile::Sample("cpu");
  inputs.deployment.spec.pod.tolerations = R"([{"key":"a","value":"1","tolerationSeconds":30}])";
  inputs.deployment.spec.pod.volumes = R"([{"name":"cache","emptyDir":{}}])";
  inputs.deployment.spec.pod.volume_mounts = R"([{"name":"cache","mountPath":"/cache"}])";
  const Plan plan = Reconcile(inputs, TimePoint{});
  const json pod = ChildNamed(plan, kube::kDeployments, plan.deployments[0].name)["spec"]["template"]["spec"];
  EXPECT_EQ(pod["tolerations"][0], json({{"key", "a"}, {"value", "1"}, {"tolerationSeconds", 30}}));
  EXPECT_EQ(pod["volumes"].back()["name"], "cache");
  EXPECT_EQ(pod["containers"][0]["volumeMounts"].back()["mountPath"], "/cache");
  for (const json& mount : pod["initContainers"][0]["volumeMounts"]) EXPECT_NE(mount["name"], "cache");
}

TEST(RenderTest, TheAnnotationOfIntentChangesWithTheIntentAlone) {
  Inputs inputs = reconcile::Sample("cpu");
  const auto intent = [&inputs] {
    const Plan plan = Reconcile(inputs, TimePoint{});
    return ChildNamed(plan, kube::kDeployments, plan.deployments[0].name)["metadata"]["annotations"][kIntentAnnotation];
  };
  const json before = intent();
  EXPECT_EQ(intent(), before);
  inputs.deployment.spec.replicas = 3;
  EXPECT_NE(intent(), before);
}

class StatusTest : public ::testing::Test {
 protected:
  StatusTest() {
    plan_ = Reconcile(reconcile::Sample("cpu"), TimePoint{});
    first_ = RenderStatus(plan_, kOwner, "{}", "2026-01-01T00:00:00Z");
  }
  Plan plan_;
  std::string first_;
};

TEST_F(StatusTest, WhatIsThereAlreadyIsNotWrittenAgain) {
  EXPECT_FALSE(StatusMatches("{}", first_));
  EXPECT_TRUE(StatusMatches(first_, RenderStatus(plan_, kOwner, first_, "2026-01-01T09:00:00Z")));
}

TEST_F(StatusTest, TheAutotunersFieldsDoNotCount) {
  json live = json::parse(first_);
  live["status"]["revisions"].push_back({{"hash", "aaaaaaaa"}, {"limit", 7}});
  live["status"]["conditions"].push_back({{"type", "Tuned"}, {"status", "True"}});
  live["status"]["live"] = {{"inFlight", 3}};
  EXPECT_TRUE(StatusMatches(live.dump(), first_));
}

TEST_F(StatusTest, ARevisionThatIsGoneIsWrittenOut) {
  json live = json::parse(first_);
  live["status"]["revisions"].push_back({{"hash", "aaaaaaaa"}, {"role", "Retiring"}});
  EXPECT_FALSE(StatusMatches(live.dump(), first_));
}

TEST_F(StatusTest, ATransitionTimeMovesOnlyWhenTheStatusFlips) {
  const std::string same = RenderStatus(plan_, kOwner, first_, "2026-01-01T09:00:00Z");
  plan_.conditions[0].reason = "AnotherReason";
  const json reason = json::parse(RenderStatus(plan_, kOwner, first_, "2026-01-01T09:00:00Z"));
  EXPECT_EQ(reason["status"]["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
  plan_.conditions[0].status = !plan_.conditions[0].status;
  const json flipped = json::parse(RenderStatus(plan_, kOwner, first_, "2026-01-01T09:00:00Z"));
  EXPECT_EQ(flipped["status"]["conditions"][0]["lastTransitionTime"], "2026-01-01T09:00:00Z");
}

}  // namespace
}  // namespace patella::render
