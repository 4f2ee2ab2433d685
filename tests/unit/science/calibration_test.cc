// The whole calibration in virtual time: right limits, both scheduler kinds, its budgets, determinism.
#include "lib/science/calibration.h"

#include <cmath>

#include "gtest/gtest.h"
#include "lib/base/text.h"
#include "lib/science/closed_loop.h"
#include "simulator.h"
#include "tests/unit/seed.h"

namespace patella::science {
namespace {

constexpr double kTargetMs = 50;

CalibrationConfig Config() {
  return {.input_tokens = 128, .output_tokens = 64, .targets = {{LatencyMetric::kTimePerOutputToken, 0.9, kTargetMs}}};
}

ServerConfig ServerOf(bool chunked, uint64_t seed) {
  return {.a_ms = 16, .b_ms = 1, .prefill_ms_per_token = 0.1, .chunk_tokens = chunked ? 256 : 0, .seed = seed};
}

CalibrationResult Calibrate(const ServerConfig& server_config) {
  Server server(server_config);
  Calibration calibration(Config());
  Drive(server, calibration, 600);
  EXPECT_TRUE(calibration.done());
  EXPECT_TRUE(calibration.Result().ok()) << calibration.Result().status();
  return calibration.last_result();
}

// p90 of the time per output token over 20 waves.
double TrueQuantile(ServerConfig server_config, int concurrency) {
  server_config.seed += 5000;
  Server server(server_config);
  ClosedLoop loop({.concurrency = concurrency,
                   .input_tokens = 128,
                   .output_tokens = 64,
                   .half_width = 0,
                   .max_waves = 20,
                   .max_seconds = 1e6});
  Drive(server, loop, 1e6);
  return loop.Result().value().QuantileMs(LatencyMetric::kTimePerOutputToken, 0.9);
}

// The acceptance of a limit: it holds, and 1.3 times as much does not.
bool IsRight(const ServerConfig& server, int limit) {
  return TrueQuantile(server, limit) <= 1.05 * kTargetMs &&
         TrueQuantile(server, static_cast<int>(std::ceil(1.3 * limit))) > kTargetMs;
}

int64_t TokensOf(const CalibrationResult& result) {
  int64_t tokens = 0;
  for (const PhaseCost& cost : result.phases) tokens += cost.tokens();
  return tokens;
}

TEST(CalibrationTest, ATargetAtWhichARequestTakesHalfAMinuteIsVerifiedAllTheSame) {
  CalibrationConfig config = Config();
  config.targets = {{LatencyMetric::kTimePerOutputToken, 0.9, 400}};
  config.max_seconds = 240;
  Server server({.a_ms = 16, .b_ms = 7});
  Calibration calibration(config);
  Drive(server, calibration, 600);
  ASSERT_TRUE(calibration.Result().ok()) << calibration.Result().status();
  EXPECT_NEAR(calibration.Result()->limit, 50, 8);
  EXPECT_FALSE(calibration.Result()->verifications.empty());
}

TEST(CalibrationTest, FindsTheRightLimitOfBothSchedulerKindsWithinItsBudgets) {
  for (const bool chunked : {false, true}) {
    int right = 0;
    double tokens = 0, seconds = 0;
    constexpr int kRuns = 10;
    const uint64_t first = Seed(1);
    for (uint64_t seed = first; seed < first + kRuns; ++seed) {
      const CalibrationResult result = Calibrate(ServerOf(chunked, seed));
      right += IsRight(ServerOf(chunked, seed), result.limit);
      tokens += static_cast<double>(TokensOf(result)) / kRuns;
      seconds += result.seconds / kRuns;
      EXPECT_LE(result.verifications.size(), 3u);
    }
    EXPECT_GE(right, 9) << (chunked ? "chunked" : "stalling");
    EXPECT_LT(seconds, 30);
    EXPECT_LT(tokens, 25000);
  }
}

TEST(CalibrationTest, ALimitThatHeldIsCalledVerifiedByThatRunThoughTheBudgetIsUsedUp) {
  int used_up = 0;
  for (double budget = 8; budget <= 30; budget += 1) {
    CalibrationConfig config = Config();
    config.max_seconds = budget;
    config.seed = Seed(1);
    Server server(ServerOf(true, Seed(1)));
    Calibration calibration(config);
    Drive(server, calibration, 600);
    const CalibrationResult& result = calibration.last_result();
    bool passed = false;
    for (const Verification& v : result.verifications) passed = passed || v.passed;
    used_up += result.reason == "budget";
    EXPECT_EQ(result.reason == "verified", passed) << budget << " s: " << result.reason;
    if (!passed) continue;
    for (const Verification& v : result.verifications) {
      if (v.passed) continue;
      EXPECT_EQ(result.evidence.find(StrCat(" at ", v.concurrency, " in")), std::string::npos) << budget;
    }
  }
  EXPECT_GT(used_up, 0);
}

TEST(CalibrationTest, TheVerdictOnALimitFailsWrongOnes) {
  const ServerConfig server = ServerOf(true, 3);
  const int limit = Calibrate(server).limit;
  EXPECT_TRUE(IsRight(server, limit));
  EXPECT_FALSE(IsRight(server, 1));
  EXPECT_FALSE(IsRight(server, 128));
  EXPECT_FALSE(IsRight(server, static_cast<int>(std::ceil(1.3 * limit))));  // as a law that is 30 % too fast gives it
  EXPECT_FALSE(IsRight(server, static_cast<int>(0.65 * limit)));
}

TEST(CalibrationTest, TheSameEventsGiveTheSameDecision) {
  const CalibrationResult one = Calibrate(ServerOf(false, 7)), other = Calibrate(ServerOf(false, 7));
  EXPECT_EQ(one.limit, other.limit);
  EXPECT_EQ(one.evidence, other.evidence);
  EXPECT_EQ(one.ramp.fit.law.a_ms, other.ramp.fit.law.a_ms);
  EXPECT_EQ(one.seconds, other.seconds);
  EXPECT_EQ(TokensOf(one), TokensOf(other));
}

TEST(CalibrationTest, ThePhasesAddUpToTheWhole) {
  const CalibrationResult result = Calibrate(ServerOf(true, 2));
  double seconds = 0;
  for (const PhaseCost& cost : result.phases) seconds += cost.seconds;
  EXPECT_NEAR(seconds, result.seconds, 1e-6);
  EXPECT_EQ(result.phases.size(), 4u);
}

}  // namespace
}  // namespace patella::science
