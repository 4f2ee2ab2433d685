#include "lib/science/limit.h"

#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/science/statistics.h"
#include "simulator.h"
#include "tests/unit/seed.h"

namespace patella::science {
namespace {

using ::testing::HasSubstr;

Curve CurveOf(const Law& law) {
  std::vector<CurvePoint> points;
  for (const int c : {1, 2, 4, 8, 16, 32}) points.push_back({c, law.MsPerToken(c), law.TokensPerSecond(c), 10});
  return MakeCurve(points, law);
}

LimitInputs Inputs() {
  const Law law{.a_ms = 16, .b_ms = 0.5};
  return {.time_per_output_token = CurveOf(law),
          .end_to_end = CurveOf({.a_ms = 16, .b_ms = 0.6}),
          .ttft = {{1, 50}, {8, 70}, {32, 120}},
          .output_tokens = 128,
          .time_per_output_token_ratio = 1.0,
          .ttft_ratio = 1.0,
          .end_to_end_ratio = 1.0};
}

TEST(LimitTest, IsTheLargestConcurrencyThatMeetsTheTarget) {
  LimitInputs inputs = Inputs();
  inputs.targets = {{LatencyMetric::kTimePerOutputToken, 0.9, 30.2}};
  const auto limit = ChooseLimit(inputs);
  ASSERT_TRUE(limit.ok());
  EXPECT_EQ(limit->limit, 28);
  EXPECT_EQ(limit->bound_by, BoundBy::kTimePerOutputToken);
  EXPECT_DOUBLE_EQ(limit->time_per_output_token_ms, 30);
  EXPECT_NEAR(limit->utilization, 0.6 * 28 / (16 + 0.6 * 28), 1e-9);
}

TEST(LimitTest, TheQuantileIsHeldNotTheMean) {
  LimitInputs inputs = Inputs();
  inputs.time_per_output_token_ratio = 1.2;
  inputs.targets = {{LatencyMetric::kTimePerOutputToken, 0.9, 30}};
  EXPECT_EQ(ChooseLimit(inputs)->limit, 18);
}

TEST(LimitTest, TheTightestOfAllBoundsBindsAndIsNamed) {
  LimitInputs inputs = Inputs();
  inputs.targets = {{LatencyMetric::kTimePerOutputToken, 0.9, 40}, {LatencyMetric::kTimeToFirstToken, 0.9, 85}};
  EXPECT_EQ(ChooseLimit(inputs)->bound_by, BoundBy::kTimeToFirstToken);
  EXPECT_EQ(ChooseLimit(inputs)->limit, 15);
  inputs.targets.push_back({LatencyMetric::kEndToEnd, 0.9, 128 * 22.1});
  EXPECT_EQ(ChooseLimit(inputs)->bound_by, BoundBy::kEndToEnd);
  EXPECT_EQ(ChooseLimit(inputs)->limit, 10);
  inputs.kv_capacity = 7.5;
  EXPECT_EQ(ChooseLimit(inputs)->bound_by, BoundBy::kKvCapacity);
  EXPECT_EQ(ChooseLimit(inputs)->limit, 7);
  inputs.ceiling = 5;
  EXPECT_EQ(ChooseLimit(inputs)->bound_by, BoundBy::kCeiling);
  inputs.timeout_s = 0.3;
  EXPECT_EQ(ChooseLimit(inputs)->bound_by, BoundBy::kTimeout);
}

TEST(LimitTest, WithoutATargetTheKneeStandsIn) {
  LimitInputs inputs = Inputs();
  const auto limit = ChooseLimit(inputs);
  ASSERT_TRUE(limit.ok());
  EXPECT_EQ(limit->bound_by, BoundBy::kKnee);
  EXPECT_EQ(limit->limit, static_cast<int>(16 / 0.6 * 0.7 / 0.3));
  inputs.knee = KneeDefinition::kKleinrock;
  EXPECT_EQ(ChooseLimit(inputs)->limit, static_cast<int>(16 / 0.6));
}

TEST(LimitTest, WhereBatchingGainsNothingThereIsNoKneeAndTheLimitIsTwo) {
  LimitInputs inputs = Inputs();
  inputs.time_per_output_token = inputs.end_to_end = CurveOf({.a_ms = 6, .b_ms = 11});
  const auto limit = ChooseLimit(inputs);
  ASSERT_TRUE(limit.ok());
  EXPECT_FALSE(limit->batching_gains);
  EXPECT_EQ(limit->limit, 2);
}

TEST(LimitTest, AnImpossibleTargetIsRefusedWithTheNearestThatIsPossible) {
  LimitInputs inputs = Inputs();
  inputs.targets = {{LatencyMetric::kTimePerOutputToken, 0.9, 10}};
  const auto limit = ChooseLimit(inputs);
  ASSERT_EQ(limit.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(limit.status().message()),
              HasSubstr("one request alone needs 16.5 ms; the nearest target that can is 17 ms"));
  inputs.targets[0].target_ms = 17;
  EXPECT_TRUE(ChooseLimit(inputs).ok());
}

TEST(LimitTest, NonsenseIsAnInvalidArgument) {
  LimitInputs inputs = Inputs();
  inputs.targets = {{LatencyMetric::kTimePerOutputToken, 1.5, 30}};
  EXPECT_EQ(ChooseLimit(inputs).status().code(), absl::StatusCode::kInvalidArgument);
  inputs.targets = {{LatencyMetric::kTimeToFirstToken, 0.9, 30}};
  inputs.ttft.clear();
  EXPECT_EQ(ChooseLimit(inputs).status().code(), absl::StatusCode::kInvalidArgument);
}

// --- The whole way: ramp, limit, verify, corrected limit; against long closed loops. -------------------------------------------------

double P90At(ServerConfig server_config, int concurrency) {
  server_config.seed += 500;
  Server server(server_config);
  ClosedLoop loop({.concurrency = concurrency,
                   .output_tokens = 128,
                   .half_width = 0,
                   .max_waves = 8,
                   .min_requests = 60,
                   .max_seconds = 1e6});
  Drive(server, loop, 1e6);
  return loop.Result()->QuantileMs(LatencyMetric::kTimePerOutputToken, 0.9);
}

int Calibrate(const ServerConfig& server_config, double target_ms) {
  Server server(server_config);
  Ramp ramp({.output_tokens = 128, .target_ms = target_ms, .max_concurrency = 128});
  Drive(server, ramp, 600);
  EXPECT_TRUE(ramp.Result().ok()) << ramp.Result().status();
  LimitInputs inputs = InputsFrom(ramp.last_result(), 128);
  inputs.targets = {{LatencyMetric::kTimePerOutputToken, 0.9, target_ms}};
  const int first = ChooseLimit(inputs)->limit;
  Server again(server_config);
  ClosedLoop verify(
      {.concurrency = first, .output_tokens = 128, .max_waves = 3, .max_seconds = 120, .targets = inputs.targets});
  Drive(again, verify, 600);
  CorrectBy(*verify.Result(), 0.9, inputs);
  return ChooseLimit(inputs)->limit;
}

TEST(LimitTest, RampAndOneVerifyProbeFindTheLimitOfBothSchedulerKinds) {
  std::vector<double> errors;
  for (const int chunk_tokens : {0, 384}) {
    for (const double target_ms : {25.0, 35.0}) {
      const uint64_t first = Seed(1);
      for (uint64_t seed = first; seed < first + 4; ++seed) {
        const ServerConfig server{.a_ms = 16, .b_ms = 0.5, .chunk_tokens = chunk_tokens, .seed = seed};
        const int limit = Calibrate(server, target_ms);
        int best = limit;  // the true one: the largest whose p90 holds
        while (P90At(server, best) > target_ms && best > 1) --best;
        while (P90At(server, best + 1) <= target_ms) ++best;
        errors.push_back(std::abs(limit - best) / static_cast<double>(best));
      }
    }
  }
  EXPECT_LE(Quantile(errors, 0.5), 0.06);
  EXPECT_LE(Quantile(errors, 0.9), 0.15);
}

}  // namespace
}  // namespace patella::science
