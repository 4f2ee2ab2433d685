#include "operator/apply/views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/base/text.h"
#include "operator/render/render.h"
#include "tests/unit/operator/samples.h"

namespace patella::apply {
namespace {

using nlohmann::json;

kube::ObjectPtr Parsed(const json& object) { return *kube::Object::Parse(object.dump()); }

json RenderedDeployment(const reconcile::Plan& plan) {
  for (const render::Child& child : render::Render(plan, {"demo", "x", "uid"})) {
    if (child.resource.kind == kube::kDeployments.kind) return json::parse(child.json);
  }
  return nullptr;
}

// What is rendered is read back as what was planned: the choice and the images of a revision survive in its Deployment.
TEST(ViewsTest, ARenderedDeploymentReadsBackAsItsRevision) {
  const reconcile::Plan plan = reconcile::Reconcile(reconcile::Sample("gpu"), TimePoint{});
  json d = RenderedDeployment(plan);
  d["metadata"]["uid"] = "uid-" + plan.deployments[0].name;
  d["metadata"]["generation"] = 3;
  d["status"] = {{"observedGeneration", 3}, {"replicas", 2}, {"readyReplicas", 1}, {"updatedReplicas", 2}};
  EXPECT_EQ(RevisionFrom(*Parsed(d)), reconcile::ViewOf(plan, 1));
}

TEST(ViewsTest, FiguresFromBeforeTheLastChangeAreNotObserved) {
  json d = RenderedDeployment(reconcile::Reconcile(reconcile::Sample("cpu"), TimePoint{}));
  d["metadata"]["generation"] = 4;
  EXPECT_FALSE(RevisionFrom(*Parsed(d)).observed);
  d["status"]["observedGeneration"] = 3;
  EXPECT_FALSE(RevisionFrom(*Parsed(d)).observed);
  d["status"]["observedGeneration"] = 4;
  EXPECT_TRUE(RevisionFrom(*Parsed(d)).observed);
}

TEST(ViewsTest, WhyPodsCannotBeMadeIsTold) {
  json d = RenderedDeployment(reconcile::Reconcile(reconcile::Sample("cpu"), TimePoint{}));
  d["status"]["conditions"] = {
      {{"type", "Progressing"}, {"status", "False"}, {"reason", "ProgressDeadlineExceeded"}, {"message", "timed out"}},
      {{"type", "ReplicaFailure"}, {"status", "True"}, {"message", "exceeded quota"}}};
  const reconcile::RevisionView view = RevisionFrom(*Parsed(d));
  EXPECT_TRUE(view.failed);
  EXPECT_EQ(view.failure, "exceeded quota");
}

TEST(ViewsTest, ANodeOffersWholeAcceleratorsIfItTakesPods) {
  json node = {{"apiVersion", "v1"},
               {"kind", "Node"},
               {"metadata", {{"name", "n"}, {"labels", {{"a", "b"}}}}},
               {"status", {{"allocatable", {{"cpu", "8"}, {"nvidia.com/gpu", "4"}, {"memory", "1Gi"}}}}}};
  reconcile::NodeView view = NodeFrom(*Parsed(node));
  EXPECT_EQ(view.allocatable, (std::map<std::string, int64_t>{{"nvidia.com/gpu", 4}}));
  EXPECT_EQ(view.labels.at("a"), "b");
  EXPECT_TRUE(view.schedulable);
  node["spec"]["unschedulable"] = true;
  EXPECT_FALSE(NodeFrom(*Parsed(node)).schedulable);
}

TEST(ViewsTest, WhatTheSchemaLetThroughButCannotBeReadSaysWhere) {
  const auto parsed =
      DeploymentFrom(*Parsed({{"apiVersion", "patella.dev/v1alpha1"},
                              {"kind", "InferenceDeployment"},
                              {"metadata", {{"name", "x"}, {"namespace", "demo"}}},
                              {"spec", {{"model", {{"name", "m"}, {"uri", "pvc://a/b"}}}, {"replicas", -1}}}}));
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(std::string(ToStd(parsed.status().message())), ::testing::HasSubstr("spec.replicas"));
}

}  // namespace
}  // namespace patella::apply
