#include "operator/reconcile/reconcile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/operator/samples.h"

namespace patella::reconcile {
namespace {

using ::testing::HasSubstr;

Plan Reconciled(const Inputs& inputs) { return Reconcile(inputs, TimePoint{}); }

Inputs LocalSample() {
  Inputs inputs = InputsFrom(PATELLA_SAMPLES "/smollm2.yaml");
  inputs.placement.local = true;
  inputs.placement.model_path = "/x/model.gguf";
  return inputs;
}

const RetainedDeployment& OnlyRetained(const Plan& plan) {
  static const RetainedDeployment kNone;
  EXPECT_EQ(plan.retained.size(), 1u);
  return plan.retained.empty() ? kNone : plan.retained[0];
}

TEST(ReconcileTest, TheSameInputsGiveTheSamePlan) {
  EXPECT_EQ(Reconcile(Sample("gpu"), TimePoint{}), Reconcile(Sample("gpu"), TimePoint{} + std::chrono::hours(1)));
}

TEST(ReconcileTest, OnlyWhatMakesPodsUnlikeChangesTheRevision) {
  const Inputs sample = Sample("cpu");
  const std::string revision = Reconciled(sample).revision;
  Inputs same = sample;
  same.placement.engine_port = 4711;
  same.deployment.spec.replicas = 5;
  same.deployment.spec.max_concurrent_requests = 9;
  same.deployment.spec.objectives.latency[0].target_ms = 77;
  same.deployment.spec.pod.labels["a"] = "b";
  EXPECT_EQ(Reconciled(same).revision, revision);
  Inputs other = sample;
  other.deployment.spec.engine.args = {"--threads", "2"};
  EXPECT_NE(Reconciled(other).revision, revision);
  other = sample;
  other.deployment.spec.pod.resources = "{requests: {cpu: 4}}";
  EXPECT_NE(Reconciled(other).revision, revision);
  other = sample;
  other.images.sidecar = "patella-sidecar:2";
  EXPECT_NE(Reconciled(other).revision, revision);
}

// The immutable ConfigMap is never sent anew with other contents: the API server would refuse it.
TEST(ReconcileTest, WhatMayChangeIsInTheLimitsMapAlone) {
  const Inputs before = Sample("gpu");
  Inputs after = before;
  after.deployment.spec.max_concurrent_requests = 9;
  after.deployment.spec.objectives.latency.push_back({api::LatencyMetric::kEndToEnd, "0.50", 9000});
  after.deployment.spec.tuning.mode = api::TuningMode::kAdvise;
  after.deployment.spec.drain_max_seconds = 7;
  const Plan a = Reconciled(before), b = Reconciled(after);
  ASSERT_EQ(a.config_maps.size(), 2u);
  ASSERT_TRUE(a.config_maps[1].immutable);
  EXPECT_EQ(a.config_maps[1], b.config_maps[1]);
  EXPECT_FALSE(b.config_maps[0].immutable);
  EXPECT_EQ(b.config_maps[0].settings.at("MAX_CONCURRENT_REQUESTS"), "9");
  EXPECT_THAT(b.config_maps[0].settings.at("OBJECTIVES"), HasSubstr("EndToEnd"));
}

TEST(ReconcileTest, TheUsersCeilingReachesEngineAndSidecar) {
  Inputs inputs = LocalSample();
  inputs.deployment.spec.max_concurrent_requests = 24;
  const Plan plan = Reconciled(inputs);
  EXPECT_EQ(EnvOf(plan, "engine", "MAX_CONCURRENT_REQUESTS"), "24");
  EXPECT_EQ(EnvOf(plan, "sidecar", "MAX_CONCURRENT_REQUESTS"), "24");
}

TEST(ReconcileTest, TheUsersEnvironmentWins) {
  Inputs inputs = LocalSample();
  inputs.deployment.spec.engine.env = {{"MAX_BATCH_PREFILL_TOKENS", "64"}, {"MAX_CONCURRENT_REQUESTS", "7"}};
  const Plan plan = Reconciled(inputs);
  EXPECT_EQ(EnvOf(plan, "engine", "MAX_BATCH_PREFILL_TOKENS"), "64");
  EXPECT_EQ(EnvOf(plan, "engine", "MAX_CONCURRENT_REQUESTS"), "7");
}

TEST(ReconcileTest, OnlyAPatellaEngineHasAControlSocket) {
  Inputs inputs = LocalSample();
  EXPECT_NE(EnvOf(Reconciled(inputs), "engine", "CONTROL_SOCKET"), "(absent)");
  inputs.deployment.spec.engine.type = api::EngineType::kVllm;
  const Plan plan = Reconciled(inputs);
  EXPECT_EQ(EnvOf(plan, "engine", "CONTROL_SOCKET"), "(absent)");
  EXPECT_EQ(EnvOf(plan, "sidecar", "ENGINE_CONTROL_SOCKET"), "(absent)");
}

TEST(ReconcileTest, TheEngineListensOnLoopbackSoNobodyPassesByTheLimiter) {
  EXPECT_EQ(EnvOf(Reconciled(Sample("cpu")), "engine", "HOSTNAME"), "127.0.0.1");
}

TEST(ReconcileTest, TheTokenIsMountedInTheSidecarAlone) {
  const Plan plan = Reconciled(Sample("gpu"));
  const auto has_token = [](const Container& c) {
    return std::any_of(c.mounts.begin(), c.mounts.end(), [](const Mount& m) { return m.volume == "token"; });
  };
  EXPECT_TRUE(has_token(Named(plan, "sidecar")));
  EXPECT_FALSE(has_token(Named(plan, "engine")));
}

TEST(ReconcileTest, APausedDeploymentIsLeftAsItIs) {
  Inputs inputs = Sample("cpu");
  inputs.deployment.spec.paused = true;
  const Plan plan = Reconciled(inputs);
  EXPECT_TRUE(plan.hold);
  EXPECT_TRUE(plan.deployments.empty());
  EXPECT_EQ(ConditionOf(plan, "Stalled").reason, "Paused");
  EXPECT_FALSE(ConditionOf(plan, "Stalled").status);
}

TEST(ReconcileTest, AFileOfOneMachineIsRefusedOnAClusterUnlessTheNodesHaveAFolderForIt) {
  Inputs inputs = Sample("cpu");
  inputs.deployment.spec.model.uri = "file://a/model.gguf";
  Plan plan = Reconciled(inputs);
  EXPECT_TRUE(plan.hold);
  EXPECT_EQ(ConditionOf(plan, "Stalled").reason, "ModelUriNotOnCluster");
  EXPECT_THAT(ConditionOf(plan, "Stalled").message, HasSubstr("pvc://"));
  inputs.placement.host_model_dir = "/srv/models";
  plan = Reconciled(inputs);
  EXPECT_FALSE(plan.hold);
  EXPECT_EQ(EnvOf(plan, "engine", "MODEL_ID"), "/models/a/model.gguf");
  inputs.deployment.spec.model.uri = "file:///srv/models/b.gguf";
  EXPECT_EQ(EnvOf(Reconciled(inputs), "engine", "MODEL_ID"), "/models/b.gguf");
  for (const char* elsewhere : {"file:///etc/passwd", "file:///srv/models-old/b.gguf"}) {
    inputs.deployment.spec.model.uri = elsewhere;
    EXPECT_EQ(ConditionOf(Reconciled(inputs), "Stalled").reason, "ModelUriInvalid") << elsewhere;
  }
  inputs.deployment.spec.model.uri = "file://../shadow";
  EXPECT_EQ(ConditionOf(Reconciled(inputs), "Stalled").reason, "ModelUriInvalid");
}

TEST(ReconcileTest, ReplicasStayWithinScalingsBounds) {
  Inputs inputs = Sample("gpu");  // 2 to 4
  for (const auto& [wanted, planned] : {std::pair(0, 2), {1, 2}, {3, 3}, {9, 4}}) {
    inputs.deployment.spec.replicas = wanted;
    EXPECT_EQ(Reconciled(inputs).desired_replicas, planned) << wanted;
  }
}

TEST(ReconcileTest, WithoutADegreeTheoryChoosesClassAndDegree) {
  Inputs inputs = Sample("gpu");
  const Plan plan = Reconciled(inputs);  // 138 GB of weights: 4 × 24 GiB do not hold them
  EXPECT_EQ(plan.deployments.at(0).annotations.at(kClassAnnotation), "a100-40g");
  EXPECT_EQ(plan.deployments.at(0).annotations.at(kTensorParallelAnnotation), "4");
  EXPECT_EQ(Named(plan, "engine").limits.at("nvidia.com/gpu"), "4");
  EXPECT_EQ(plan.deployments.at(0).pod.node_selector.at("example.com/accelerator"), "a100-40g");
}

TEST(ReconcileTest, AModelThatFitsNowhereIsStalledWithTheFigures) {
  Inputs inputs = Sample("gpu");
  inputs.deployment.spec.hardware.accelerator_classes = {"a10g"};
  const Plan plan = Reconciled(inputs);
  EXPECT_TRUE(plan.hold);
  EXPECT_EQ(ConditionOf(plan, "Stalled").reason, "ModelDoesNotFit");
  EXPECT_THAT(ConditionOf(plan, "Stalled").message, HasSubstr("a10g × 4"));
}

TEST(ReconcileTest, WhatAProgramCanUseOfTheMemoryDecides) {
  Inputs inputs = Sample("gpu");
  for (api::AcceleratorClass& c : inputs.accelerator_classes) c.usable_memory_gb = "0.5";
  const Plan plan = Reconciled(inputs);
  EXPECT_TRUE(plan.hold);
  EXPECT_EQ(ConditionOf(plan, "Stalled").reason, "ModelDoesNotFit") << ConditionOf(plan, "Stalled").message;
}

TEST(ReconcileTest, AnUnknownModelTakesTheFirstClassAndSaysWhatWouldChooseBetter) {
  Inputs inputs = Sample("gpu");
  inputs.deployment.spec.model.name = "acme/unheard-of";
  inputs.nodes = {NodeWith("a10g", 4)};
  const Plan plan = Reconciled(inputs);
  EXPECT_EQ(plan.deployments.at(0).annotations.at(kClassAnnotation), "a10g");
  EXPECT_EQ(plan.deployments.at(0).annotations.at(kTensorParallelAnnotation), "1");
  EXPECT_THAT(ConditionOf(plan, "CapacityAvailable").message, HasSubstr("spec.model.shape"));
}

TEST(ReconcileTest, AClassThatDoesNotExistIsNamedWithThoseThatDo) {
  Inputs inputs = Sample("gpu");
  inputs.deployment.spec.hardware.accelerator_classes = {"a10"};
  const Plan plan = Reconciled(inputs);
  EXPECT_EQ(ConditionOf(plan, "Stalled").reason, "AcceleratorClassMissing");
  EXPECT_THAT(ConditionOf(plan, "Stalled").message, HasSubstr("a100-40g, a10g"));
}

TEST(ReconcileTest, WithoutAnyAcceleratorInTheClusterPodsRunOnTheCpu) {
  Inputs inputs = Sample("cpu");
  inputs.accelerator_classes = Sample("gpu").accelerator_classes;
  EXPECT_EQ(Reconciled(inputs).deployments.at(0).annotations.at(kClassAnnotation), "");
  inputs.nodes = {NodeWith("a10g", 4)};
  EXPECT_EQ(Reconciled(inputs).deployments.at(0).annotations.at(kClassAnnotation), "a10g");
}

TEST(ReconcileTest, ARevisionKeepsItsChoiceWhenPricesOrNodesChange) {
  Inputs inputs = Sample("gpu");
  const Plan first = Reconciled(inputs);
  inputs.revisions = {ViewOf(first, 2)};
  for (api::AcceleratorClass& c : inputs.accelerator_classes) c.price_per_node_hour = "900";
  inputs.accelerator_classes[0].memory_gib = 500;
  EXPECT_EQ(Reconciled(inputs).revision, first.revision);
}

TEST(ReconcileTest, ARevisionTellsWhatOneOfItsReplicasCostsAsLongAsAPriceIsKnown) {
  Inputs inputs = Sample("gpu");
  inputs.deployment.spec.hardware.accelerator_classes = {"a100-40g"};  // $32.7726 for eight
  inputs.deployment.spec.tensor_parallel_size = 4;
  inputs.revisions = {ViewOf(Reconciled(inputs), 2)};
  const auto cost = [&] { return Reconciled(inputs).status.revisions.at(0).replica_cost_per_hour; };
  EXPECT_EQ(cost(), "16.3863");
  for (api::AcceleratorClass& c : inputs.accelerator_classes) c.price_per_node_hour = "8";
  EXPECT_EQ(cost(), "4.00") << "live: no pod moves for it";
  for (api::AcceleratorClass& c : inputs.accelerator_classes) c.price_per_node_hour.clear();
  EXPECT_EQ(cost(), "");
}

TEST(ReconcileTest, AClassDeletedByMistakeMovesNoPod) {
  Inputs inputs = Sample("gpu");
  inputs.deployment.spec.hardware.accelerator_classes.clear();
  inputs.nodes = {NodeWith("a100-40g", 8)};
  inputs.revisions = {ViewOf(Reconciled(inputs), 2)};
  std::erase_if(inputs.accelerator_classes, [](const auto& c) { return c.metadata.name == "a100-40g"; });
  inputs.nodes.push_back(NodeWith("a10g", 4));
  const Plan plan = Reconciled(inputs);
  EXPECT_TRUE(plan.hold);
  EXPECT_EQ(ConditionOf(plan, "Stalled").reason, "AcceleratorClassMissing");
}

TEST(ReconcileTest, NewImagesWaitForTheUserUnlessThePolicyIsAuto) {
  Inputs inputs = Sample("cpu");
  const Plan first = Reconciled(inputs);
  inputs.revisions = {ViewOf(first, 1)};
  inputs.images = {"patella-engine:2", "patella-sidecar:2"};
  Plan plan = Reconciled(inputs);
  EXPECT_EQ(plan.revision, first.revision);
  EXPECT_EQ(Named(plan, "sidecar").image, "patella-sidecar:1");
  EXPECT_TRUE(ConditionOf(plan, "UpdateAvailable").status);
  EXPECT_THAT(ConditionOf(plan, "UpdateAvailable").message, HasSubstr("patella-engine:2"));
  inputs.deployment.spec.update_policy = api::UpdatePolicy::kAuto;
  plan = Reconciled(inputs);
  EXPECT_NE(plan.revision, first.revision);
  EXPECT_EQ(Named(plan, "sidecar").image, "patella-sidecar:2");
  EXPECT_FALSE(ConditionOf(plan, "UpdateAvailable").status);
}

// An upgrade of the operator rolls nobody's GPUs.
TEST(ReconcileTest, PodsThatAnOlderOperatorLaidOutStayUntilTheUserMovesOn) {
  Inputs inputs = Sample("cpu");
  RevisionView old = ViewOf(Reconciled(inputs), 1);
  old.pod_version = 0;
  old.hash = RevisionOf(inputs.deployment, old.images, {.tensor_parallel_size = 1}, 0);
  inputs.revisions = {old};
  inputs.deployment.spec.replicas = 3;
  Plan plan = Reconciled(inputs);
  EXPECT_TRUE(plan.deployments.empty());
  EXPECT_EQ(OnlyRetained(plan).role, Role::kServing);
  EXPECT_EQ(OnlyRetained(plan).replicas, 3);  // scaling goes on
  EXPECT_TRUE(ConditionOf(plan, "UpdateAvailable").status);
  inputs.deployment.spec.update_policy = api::UpdatePolicy::kAuto;
  plan = Reconciled(inputs);
  EXPECT_EQ(plan.deployments.size(), 1u);
  EXPECT_NE(plan.revision, old.hash);
}

TEST(ReconcileTest, AMoveGoesThroughTrialServingRetiringAndGone) {
  Inputs inputs = Sample("cpu");
  const Plan first = Reconciled(inputs);
  EXPECT_EQ(first.deployments.at(0).labels.at(kRoleLabel), "serving");
  RevisionView old = ViewOf(first, 1);
  inputs.revisions = {old};
  EXPECT_TRUE(Reconciled(inputs).retained.empty());
  EXPECT_TRUE(ConditionOf(Reconciled(inputs), "Ready").status);
  EXPECT_FALSE(ConditionOf(Reconciled(inputs), "Reconciling").status);

  inputs.deployment.spec.engine.args = {"--threads", "2"};
  Plan plan = Reconciled(inputs);  // the new one begins beside the old
  EXPECT_EQ(plan.deployments.at(0).labels.at(kRoleLabel), "trial");
  EXPECT_EQ(plan.deployments.at(0).pod.labels.at(kRoleLabel), "serving");
  EXPECT_EQ(OnlyRetained(plan).role, Role::kServing);
  EXPECT_EQ(OnlyRetained(plan).replicas, 1);
  EXPECT_EQ(ConditionOf(plan, "Reconciling").reason, "NewRevision");

  inputs.revisions.push_back(ViewOf(plan, 0));
  EXPECT_EQ(OnlyRetained(Reconciled(inputs)).replicas, 1);  // not before it is ready

  inputs.revisions[1].ready = 1;
  plan = Reconciled(inputs);
  EXPECT_EQ(plan.deployments.at(0).labels.at(kRoleLabel), "serving");
  EXPECT_EQ(OnlyRetained(plan).role, Role::kRetiring);
  EXPECT_EQ(OnlyRetained(plan).replicas, 0);
  EXPECT_EQ(ConditionOf(plan, "Reconciling").reason, "HandOver");

  inputs.revisions[0].wanted = inputs.revisions[0].present = inputs.revisions[0].ready = 0;
  inputs.revisions[0].role = Role::kRetiring;
  inputs.revisions[1].role = Role::kServing;
  plan = Reconciled(inputs);
  EXPECT_TRUE(plan.retained.empty());  // and so it is removed
  EXPECT_FALSE(ConditionOf(plan, "Reconciling").status);
}

TEST(ReconcileTest, BackToTheOldSpecIsBackToTheOldRevision) {
  Inputs inputs = Sample("cpu");
  const Plan first = Reconciled(inputs);
  inputs.revisions = {ViewOf(first, 1)};
  Inputs moved = inputs;
  moved.deployment.spec.engine.args = {"--broken"};
  inputs.revisions.push_back(ViewOf(Reconciled(moved), 0));
  const Plan back = Reconciled(inputs);
  EXPECT_EQ(back.revision, first.revision);
  EXPECT_EQ(OnlyRetained(back).revision, Reconciled(moved).revision);
  EXPECT_EQ(OnlyRetained(back).replicas, 0);
}

TEST(ReconcileTest, WithoutRoomForASecondReplicaTheMoveIsStalledAndSaysSo) {
  Inputs inputs = Sample("gpu");
  inputs.deployment.spec.hardware.max_accelerators = 4;
  inputs.deployment.spec.scaling.min_replicas = 1;
  inputs.revisions = {ViewOf(Reconciled(inputs), 1)};
  inputs.deployment.spec.engine.args = {"--other"};
  const Plan plan = Reconciled(inputs);
  EXPECT_EQ(plan.deployments.at(0).replicas, 0);
  EXPECT_EQ(OnlyRetained(plan).replicas, 1);
  EXPECT_EQ(ConditionOf(plan, "Stalled").reason, "NoRoomForHandOver");
  EXPECT_TRUE(ConditionOf(plan, "Ready").status);
}

TEST(ReconcileTest, CapacityTellsWhatIsMissing) {
  Inputs inputs = Sample("gpu");
  EXPECT_EQ(ConditionOf(Reconciled(inputs), "CapacityAvailable").reason, "NoMatchingNode");
  inputs.nodes = {NodeWith("a100-40g", 2)};
  EXPECT_EQ(ConditionOf(Reconciled(inputs), "CapacityAvailable").reason, "NodeTooSmall");
  inputs.nodes = {NodeWith("a100-40g", 4)};
  EXPECT_EQ(ConditionOf(Reconciled(inputs), "CapacityAvailable").reason, "TooFewAccelerators");
  inputs.nodes = {NodeWith("a100-40g", 8)};
  EXPECT_EQ(ConditionOf(Reconciled(inputs), "CapacityAvailable").reason, "Enough");
  inputs.deployment.spec.hardware.max_accelerators = 4;
  EXPECT_EQ(ConditionOf(Reconciled(inputs), "CapacityAvailable").reason, "MaxAccelerators");
}

TEST(ReconcileTest, ADeploymentThatMadeNoProgressIsStalledWithItsOwnWords) {
  Inputs inputs = Sample("cpu");
  RevisionView view = ViewOf(Reconciled(inputs), 0);
  view.failed = true;
  view.failure = "ReplicaSet \"x\" has timed out progressing.";
  inputs.revisions = {view};
  const Condition stalled = ConditionOf(Reconciled(inputs), "Stalled");
  EXPECT_EQ(stalled.reason, "ProgressDeadlineExceeded");
  EXPECT_THAT(stalled.message, HasSubstr("timed out"));
}

TEST(ReconcileTest, AnImpossibleChangeLeavesWhatServesAlone) {
  Inputs inputs = Sample("cpu");
  inputs.revisions = {ViewOf(Reconciled(inputs), 1)};
  inputs.deployment.spec.engine.type = api::EngineType::kVllm;  // without an image
  const Plan plan = Reconciled(inputs);
  EXPECT_TRUE(plan.hold);
  EXPECT_EQ(ConditionOf(plan, "Stalled").reason, "EngineImageMissing");
  EXPECT_TRUE(ConditionOf(plan, "Ready").status);
}

TEST(ReconcileTest, OnThisMachineTheDeploymentThatExistsIsTheWantedOne) {
  Inputs inputs = Sample("cpu");
  inputs.placement.local = true;
  const Plan first = Reconcile(inputs, TimePoint{});
  inputs.revisions = {ViewOf(first, 1)};
  const Plan second = Reconcile(inputs, TimePoint{});
  EXPECT_TRUE(second.retained.empty());
  EXPECT_EQ(second.deployments, first.deployments);
}

}  // namespace
}  // namespace patella::reconcile
