#include "lib/api/to_science.h"

#include <gtest/gtest.h>

namespace patella::api {
namespace {

TEST(ToPlanInputsTest, TheStricterBoundOnAcceleratorsCounts) {
  InferenceDeploymentSpec spec;
  EXPECT_EQ(ToPlanInputs(spec, {}).max_accelerators_per_replica, 0);
  spec.hardware.max_accelerators = 4;
  EXPECT_EQ(ToPlanInputs(spec, {}).max_accelerators_per_replica, 4);
  spec.hardware.max_accelerators_per_replica = 8;
  EXPECT_EQ(ToPlanInputs(spec, {}).max_accelerators_per_replica, 4);
  spec.hardware.max_accelerators_per_replica = 2;
  EXPECT_EQ(ToPlanInputs(spec, {}).max_accelerators_per_replica, 2);
}

TEST(ToPlanInputsTest, WorkloadAndObjectivesAreTaken) {
  InferenceDeploymentSpec spec;
  spec.workload.input_tokens = 1000;
  spec.workload.output_tokens = 300;
  spec.objectives.latency = {{.metric = LatencyMetric::kEndToEnd, .quantile = "0.95", .target_ms = 8000}};
  spec.objectives.cost.max_per_hour = "12.5";
  spec.objectives.prefer = Prefer::kThroughput;
  const science::PlanInputs in = ToPlanInputs(spec, {.name = "m"});
  EXPECT_EQ(in.model.name, "m");
  EXPECT_EQ(in.input_tokens, 1000);
  EXPECT_EQ(in.output_tokens, 300);
  ASSERT_EQ(in.targets.size(), 1u);
  EXPECT_EQ(in.targets[0].metric, science::LatencyMetric::kEndToEnd);
  EXPECT_EQ(in.targets[0].quantile, 0.95);
  ASSERT_TRUE(in.max_per_hour.has_value());
  EXPECT_EQ(*in.max_per_hour, *science::ParseMoney("12.5"));
  EXPECT_FALSE(in.max_per_million.has_value());
  EXPECT_EQ(in.prefer, science::Preference::kThroughput);
}

}  // namespace
}  // namespace patella::api
