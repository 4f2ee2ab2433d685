// What a running replica follows of its InferenceDeployment is what a new one is started with: operator/reconcile/settings.h writes the one,
// sidecar/cluster/policy.h reads the other.
#include "sidecar/cluster/policy.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "operator/reconcile/settings.h"
#include "sidecar/app/config.h"

namespace patella::sidecar {
namespace {

using Spec = api::InferenceDeploymentSpec;

ReplicaPolicy StartedWith(const Spec& spec) {
  reconcile::Inputs inputs;
  inputs.deployment.spec = spec;
  std::map<std::string, std::string> environment;
  for (const reconcile::Env& env : reconcile::LimitSettings(inputs)) environment[env.name] = env.value;
  const char* const argv[] = {"patella-sidecar"};
  const auto settings = Settings::Parse(SidecarSettings(), 1, argv, [&](const char* name) -> const char* {
    const auto it = environment.find(name);
    return it == environment.end() ? nullptr : it->second.c_str();
  });
  EXPECT_TRUE(settings.ok()) << settings.status();
  const auto config = ParseConfig(*settings);
  EXPECT_TRUE(config.ok()) << config.status();
  return {config->tuner, config->queue.max_requests, config->queue.max_wait};
}

TEST(ReplicaPolicyTest, ARunningReplicaFollowsWhatANewOneIsStartedWith) {
  const std::vector<std::function<void(Spec&)>> changes = {
      [](Spec& s) { s.objectives.latency = {{.quantile = "0.90", .target_ms = 75}}; },
      [](Spec& s) {
        s.objectives.latency.push_back(
            {.metric = api::LatencyMetric::kTimeToFirstToken, .quantile = "0.95", .target_ms = 800});
      },
      [](Spec& s) { s.objectives.latency.clear(); },
      [](Spec& s) { s.objectives.knee.definition = api::KneeDefinition::kKleinrock; },
      [](Spec& s) {
        s.objectives.knee = {api::KneeDefinition::kUtilization, "0.55"};
      },
      [](Spec& s) { s.workload.input_tokens = 1000; },
      [](Spec& s) { s.workload.output_tokens = 100; },
      [](Spec& s) { s.max_concurrent_requests = 12; },
      [](Spec& s) { s.tuning.mode = api::TuningMode::kAdvise; },
      [](Spec& s) { s.tuning.mode = api::TuningMode::kOff; },
      [](Spec& s) { s.tuning.max_calibration_seconds = 45; },
      [](Spec& s) { s.admission.queue.max_requests = 7; },
      [](Spec& s) { s.admission.queue.max_wait_ms = 1500; },
  };
  Spec spec;
  EXPECT_EQ(PolicyOf(spec), StartedWith(spec));
  for (size_t i = 0; i < changes.size(); ++i) {
    const ReplicaPolicy before = PolicyOf(spec);
    changes[i](spec);
    EXPECT_NE(PolicyOf(spec), before) << "change " << i << " is not followed";
    EXPECT_EQ(PolicyOf(spec), StartedWith(spec)) << "change " << i;
  }
}

}  // namespace
}  // namespace patella::sidecar
