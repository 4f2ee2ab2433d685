#include "lib/science/closed_loop.h"

#include "gtest/gtest.h"
#include "simulator.h"
#include "tests/unit/seed.h"

namespace patella::science {
namespace {

absl::StatusOr<ClosedLoopResult> RunLoop(const ServerConfig& server_config, const ClosedLoopConfig& config) {
  Server server(server_config);
  ClosedLoop loop(config);
  Drive(server, loop, 3600);
  EXPECT_TRUE(loop.done());
  return loop.Result();
}

TEST(ClosedLoopTest, ThroughputTimesLatencyIsTheConcurrency) {
  for (const int c : {1, 4, 16, 48}) {
    const auto result = RunLoop({}, {.concurrency = c, .max_waves = 4, .max_seconds = 600});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_NEAR(result->little_ratio, 1, 0.05) << c;
    EXPECT_TRUE(CheckLittle(std::vector<CurvePoint>{result->Point()}).ok());
  }
}

TEST(ClosedLoopTest, MeasuresTheStallingServersLaw) {
  // Per token: a step of 16 + 0.4·8 and 8 prefills (of 2 + 256·0.05 each) in 128 steps.
  const auto result =
      RunLoop({.noise = 0.02}, {.concurrency = 8, .output_tokens = 128, .half_width = 0, .max_seconds = 600});
  ASSERT_TRUE(result.ok());
  EXPECT_NEAR(result->mean_ms_per_token, 19.2 + 8 * 14.8 / 128, 0.3);
  EXPECT_NEAR(result->MeanMs(LatencyMetric::kTimePerOutputToken), 19.2 + 7 * 14.8 / 128, 0.3);
}

TEST(ClosedLoopTest, StopsWhenTheThroughputIsKnownWellEnough) {
  const auto quick = RunLoop({}, {.concurrency = 8, .half_width = 0.05, .max_waves = 10, .max_seconds = 600});
  const auto full = RunLoop({}, {.concurrency = 8, .half_width = 0, .max_waves = 10, .max_seconds = 600});
  ASSERT_TRUE(quick.ok() && full.ok());
  EXPECT_LE(quick->half_width_ratio, 0.05);
  EXPECT_LT(quick->requests.size(), full->requests.size());
  EXPECT_NEAR(quick->tokens_per_second / full->tokens_per_second, 1, 0.05);
}

TEST(ClosedLoopTest, KeepsMeasuringUntilTheTargetIsDecided) {
  ClosedLoopConfig config{.concurrency = 4, .output_tokens = 64, .max_waves = 20, .max_seconds = 600};
  config.targets = {{LatencyMetric::kTimePerOutputToken, 0.9, 30}};
  const auto result = RunLoop({}, config);
  ASSERT_TRUE(result.ok());
  EXPECT_GE(result->requests.size(), 27u);
  EXPECT_EQ(Judge(*result, config.targets), Verdict::kPass);
  EXPECT_EQ(Judge(*result, {{LatencyMetric::kTimePerOutputToken, 0.9, 15}}), Verdict::kFail);
}

TEST(ClosedLoopTest, TheTimeIsBounded) {
  const auto result = RunLoop({}, {.concurrency = 64, .output_tokens = 256, .max_seconds = 15});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_LE(result->seconds + result->warm_up_seconds, 15.1);
  const auto none = RunLoop({}, {.concurrency = 64, .output_tokens = 4096, .max_seconds = 5});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ClosedLoopTest, AnEngineThatDiesIsUnavailable) {
  const auto result = RunLoop({.fails_after = 20}, {.concurrency = 8, .output_tokens = 32, .max_seconds = 600});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
}

TEST(ClosedLoopTest, TokensThatArriveTogetherAreAllCounted) {
  const auto single = RunLoop({.noise = 0}, {.concurrency = 8, .output_tokens = 64, .max_seconds = 600});
  const auto packed =
      RunLoop({.noise = 0, .tokens_per_chunk = 5}, {.concurrency = 8, .output_tokens = 64, .max_seconds = 600});
  ASSERT_TRUE(single.ok() && packed.ok());
  EXPECT_NEAR(packed->tokens_per_second / single->tokens_per_second, 1, 0.03);
  EXPECT_NEAR(packed->MeanMs(LatencyMetric::kTimePerOutputToken) / single->MeanMs(LatencyMetric::kTimePerOutputToken),
              1, 0.02);
}

TEST(VerdictTest, ACleanRunOfP90PassesAfter27Requests) {
  EXPECT_EQ(SequentialVerdict(0, 26, 0.9), Verdict::kUndecided);
  EXPECT_EQ(SequentialVerdict(0, 27, 0.9), Verdict::kPass);
  EXPECT_EQ(SequentialVerdict(5, 10, 0.9), Verdict::kFail);
  EXPECT_EQ(SequentialVerdict(10, 100, 0.9), Verdict::kUndecided);
  EXPECT_EQ(FinalVerdict(10, 100, 0.9), Verdict::kPass);
  EXPECT_EQ(FinalVerdict(11, 100, 0.9), Verdict::kFail);
  EXPECT_EQ(FinalVerdict(0, 0, 0.9), Verdict::kUndecided);
}

TEST(VerdictTest, ErrorsOfTheSequentialTestAreAboutFivePercent) {
  Random random(Seed(3));
  int wrong = 0;
  for (int run = 0; run < 1000; ++run) {
    int violations = 0;
    Verdict verdict = Verdict::kUndecided;
    for (int n = 1; n < 2000 && verdict == Verdict::kUndecided; ++n) {
      violations += random.Uniform() < 0.15;
      verdict = SequentialVerdict(violations, n, 0.9);
    }
    wrong += verdict == Verdict::kPass;
  }
  EXPECT_LT(wrong, 60);
}

TEST(VerdictTest, WilsonContainsTheShareAndStaysInZeroToOne) {
  const Interval interval = Wilson(27, 30);
  EXPECT_LT(interval.low, 0.9);
  EXPECT_GT(interval.high, 0.9);
  EXPECT_GE(Wilson(0, 10).low, 0);
  EXPECT_LE(Wilson(10, 10).high, 1);
  EXPECT_DOUBLE_EQ(Wilson(0, 0).high, 1);
}

}  // namespace
}  // namespace patella::science
