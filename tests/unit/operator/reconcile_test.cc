#include "operator/reconcile/reconcile.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "lib/api/parse.h"

namespace patella::reconcile {
namespace {

Inputs SampleInputs() {
  Inputs inputs;
  const auto sample = api::ParseOneDeployment(PATELLA_SAMPLES "/smollm2.yaml");
  EXPECT_TRUE(sample.ok()) << sample.status();
  if (sample.ok()) inputs.deployment = *sample;
  return inputs;
}

const Container& Named(const Plan& plan, const std::string& name) {
  for (const Container& c : plan.deployments.at(0).pod.containers) {
    if (c.name == name) return c;
  }
  static const Container kNone;
  return kNone;
}

std::string EnvOf(const Container& c, const std::string& name) {
  for (const Env& env : c.env) {
    if (env.name == name) return env.value;
  }
  return "(absent)";
}

// PATELLA_GOLDEN=write rewrites the golden file.
TEST(ReconcileTest, ThePlanOfTheSampleIsTheGoldenOne) {
  const std::string path = PATELLA_TEST_DATA "/smollm2.plan";
  const std::string plan = Print(Reconcile(SampleInputs(), TimePoint{}));
  if (const char* mode = std::getenv("PATELLA_GOLDEN"); mode != nullptr && std::string(mode) == "write")
    std::ofstream(path) << plan;
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(plan, golden.str());
}

TEST(ReconcileTest, TheSameInputsGiveTheSamePlan) {
  EXPECT_EQ(Reconcile(SampleInputs(), TimePoint{}), Reconcile(SampleInputs(), TimePoint{} + std::chrono::hours(1)));
}

TEST(ReconcileTest, OnlyWhatMakesPodsUnlikeChangesTheRevision) {
  const Inputs sample = SampleInputs();
  const std::string revision = Reconcile(sample, TimePoint{}).revision;
  Inputs same = sample;
  same.placement.engine_port = 4711;
  same.deployment.spec.replicas = 5;
  same.deployment.spec.max_concurrent_requests = 9;
  same.deployment.spec.objectives.latency[0].target_ms = 77;
  EXPECT_EQ(Reconcile(same, TimePoint{}).revision, revision);
  Inputs other = sample;
  other.deployment.spec.engine.args = {"--threads", "2"};
  EXPECT_NE(Reconcile(other, TimePoint{}).revision, revision);
  other = sample;
  other.deployment.spec.tensor_parallel_size = 2;
  EXPECT_NE(Reconcile(other, TimePoint{}).revision, revision);
  other = sample;
  other.images.sidecar = "patella-sidecar:2";
  EXPECT_NE(Reconcile(other, TimePoint{}).revision, revision);
}

TEST(ReconcileTest, TheUsersCeilingReachesEngineAndSidecar) {
  Inputs inputs = SampleInputs();
  inputs.deployment.spec.max_concurrent_requests = 24;
  const Plan plan = Reconcile(inputs, TimePoint{});
  EXPECT_EQ(EnvOf(Named(plan, "engine"), "MAX_CONCURRENT_REQUESTS"), "24");
  EXPECT_EQ(EnvOf(Named(plan, "sidecar"), "MAX_CONCURRENT_REQUESTS"), "24");
}

TEST(ReconcileTest, TheUsersEnvironmentWins) {
  Inputs inputs = SampleInputs();
  inputs.deployment.spec.engine.env = {{"MAX_BATCH_PREFILL_TOKENS", "64"}, {"MAX_CONCURRENT_REQUESTS", "7"}};
  const Container engine = Named(Reconcile(inputs, TimePoint{}), "engine");
  EXPECT_EQ(EnvOf(engine, "MAX_BATCH_PREFILL_TOKENS"), "64");
  EXPECT_EQ(EnvOf(engine, "MAX_CONCURRENT_REQUESTS"), "7");
  EXPECT_EQ(std::count_if(engine.env.begin(), engine.env.end(),
                          [](const Env& e) { return e.name == "MAX_CONCURRENT_REQUESTS"; }),
            1);
}

TEST(ReconcileTest, OnlyAPatellaEngineHasAControlSocket) {
  Inputs inputs = SampleInputs();
  inputs.deployment.spec.engine.type = api::EngineType::kVllm;
  const Plan plan = Reconcile(inputs, TimePoint{});
  EXPECT_EQ(EnvOf(Named(plan, "engine"), "CONTROL_SOCKET"), "(absent)");
  EXPECT_EQ(EnvOf(Named(plan, "sidecar"), "ENGINE_CONTROL_SOCKET"), "(absent)");
}

TEST(ReconcileTest, TheEngineListensOnLoopbackSoNobodyPassesByTheLimiter) {
  EXPECT_EQ(EnvOf(Named(Reconcile(SampleInputs(), TimePoint{}), "engine"), "HOSTNAME"), "127.0.0.1");
}

TEST(ReconcileTest, APausedDeploymentHasNoPlannedChildren) {
  Inputs inputs = SampleInputs();
  inputs.deployment.spec.paused = true;
  const Plan plan = Reconcile(inputs, TimePoint{});
  EXPECT_TRUE(plan.deployments.empty());
  ASSERT_EQ(plan.conditions.size(), 1u);
  EXPECT_EQ(plan.conditions[0].reason, "Paused");
}

}  // namespace
}  // namespace patella::reconcile
