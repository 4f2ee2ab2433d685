#include "lib/science/curve.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/unit/seed.h"

namespace patella::science {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;

std::vector<CurvePoint> PointsOf(const Law& law, const std::vector<int>& concurrencies, double noise = 0,
                                 uint64_t seed = Seed(1)) {
  Random random(seed);
  std::vector<CurvePoint> points;
  for (const int c : concurrencies) {
    const double ms = law.MsPerToken(c) * std::exp(noise * random.Normal());
    points.push_back({c, ms, 1000.0 * c / ms, 3 * c});
  }
  return points;
}

TEST(LawTest, BeyondTheCapThroughputStaysAndLatencyGrowsWithTheQueue) {
  const Law law{.a_ms = 30, .b_ms = 1, .cap = 30};
  EXPECT_DOUBLE_EQ(law.MsPerToken(10), 40);
  EXPECT_DOUBLE_EQ(law.MsPerToken(60), 120);
  EXPECT_DOUBLE_EQ(law.TokensPerSecond(30), law.TokensPerSecond(60));
}

TEST(LawTest, UtilizationIsTheShareOfThroughputThatBatchingWithoutEndWouldGive) {
  const Law law{.a_ms = 30, .b_ms = 1};
  EXPECT_DOUBLE_EQ(UtilizationAt(law, 30), 0.5);
  EXPECT_DOUBLE_EQ(law.TokensPerSecond(30) / PeakTokensPerSecond(law), 0.5);
}

TEST(FitTest, FindsTheLawThatThePointsCameFrom) {
  const auto fit = FitLaw(PointsOf({.a_ms = 16, .b_ms = 0.4}, {1, 2, 4, 8, 16}));
  ASSERT_TRUE(fit.ok());
  EXPECT_THAT(fit->law.a_ms, DoubleNear(16, 1e-6));
  EXPECT_THAT(fit->law.b_ms, DoubleNear(0.4, 1e-6));
  EXPECT_FALSE(std::isfinite(fit->law.cap));
  EXPECT_LT(fit->error_ratio, 1e-9);
}

TEST(FitTest, FindsTheCap) {
  int near = 0, covered = 0;
  const uint64_t first = Seed(1);
  for (uint64_t seed = first; seed < first + 100; ++seed) {
    const auto fit = FitLaw(PointsOf({.a_ms = 33, .b_ms = 0.8, .cap = 27}, {1, 2, 4, 8, 16, 32, 64}, 0.01, seed));
    ASSERT_TRUE(fit.ok());
    near += std::abs(fit->law.cap - 27) <= 2;
    covered += fit->cap.low <= 27 && 27 <= fit->cap.high;
  }
  EXPECT_GE(near, 95);
  EXPECT_GE(covered, 80);
}

TEST(FitTest, IntervalsCoverTheTruthInAboutNineOfTenRuns) {
  int covered = 0;
  const uint64_t first = Seed(1);
  for (uint64_t seed = first; seed < first + 200; ++seed) {
    const auto fit = FitLaw(PointsOf({.a_ms = 16, .b_ms = 0.4}, {1, 2, 4, 8, 16, 32}, 0.04, seed), {.find_cap = false});
    ASSERT_TRUE(fit.ok());
    covered += fit->b_ms.low <= 0.4 && 0.4 <= fit->b_ms.high;
  }
  EXPECT_GE(covered, 160);
  EXPECT_LE(covered, 199);
}

TEST(FitTest, OnePointThatIsFarOffDoesNotMoveTheLawMuch) {
  std::vector<CurvePoint> points = PointsOf({.a_ms = 16, .b_ms = 0.4}, {1, 2, 4, 8, 16, 32}, 0.005);
  points[2].mean_ms_per_token *= 1.5;
  points[2].tokens_per_second /= 1.5;
  const auto fit = FitLaw(points, {.find_cap = false});
  ASSERT_TRUE(fit.ok());
  EXPECT_THAT(fit->law.a_ms, DoubleNear(16, 1));
  EXPECT_THAT(fit->law.b_ms, DoubleNear(0.4, 0.05));
}

TEST(FitTest, ParametersAreNeverNegative) {
  const auto fit = FitLaw(PointsOf({.a_ms = 0, .b_ms = 3}, {1, 2, 4, 8}, 0.05));
  ASSERT_TRUE(fit.ok());
  EXPECT_GE(fit->law.a_ms, 0);
  EXPECT_GE(fit->a_ms.low, 0);
}

TEST(FitTest, PointsThatBreakLittlesLawAreRefusedByName) {
  std::vector<CurvePoint> points = PointsOf({.a_ms = 16, .b_ms = 0.4}, {1, 8, 16});
  points[1].mean_ms_per_token *= 1.2;
  const auto fit = FitLaw(points);
  EXPECT_EQ(fit.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(fit.status().message()), HasSubstr("c = 8 (ratio 1.20)"));
  EXPECT_TRUE(FitLaw(points, {.little_tolerance = kInfinity}).ok());
}

TEST(FitTest, OneConcurrencyIsNotEnough) {
  const auto points = PointsOf({.a_ms = 16, .b_ms = 0.4}, {4, 4});
  EXPECT_EQ(FitLaw(points).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CurveTest, BendsToStepsThatThePointsAgreeOn) {
  std::vector<CurvePoint> points;
  for (const int c : {1, 2, 4, 8, 12, 16, 24, 32}) {
    const double ms = (c <= 8 ? 1.0 : 1.3) * (16 + 0.4 * c);
    points.push_back({c, ms, 1000.0 * c / ms, 10});
  }
  const auto fit = FitLaw(points, {.find_cap = false});
  ASSERT_TRUE(fit.ok());
  const Curve curve = MakeCurve(points, fit->law);
  EXPECT_LT(std::abs(curve.MsPerToken(8) / points[3].mean_ms_per_token - 1), 0.06);
  EXPECT_LT(std::abs(curve.MsPerToken(8) / points[3].mean_ms_per_token - 1),
            std::abs(fit->law.MsPerToken(8) / points[3].mean_ms_per_token - 1));
}

TEST(CurveTest, IsNoWorseThanTheLawOnNoise) {
  const Law truth{.a_ms = 16, .b_ms = 0.4};
  double by_law = 0, by_curve = 0, by_points = 0;
  const uint64_t first = Seed(1);
  for (uint64_t seed = first; seed < first + 100; ++seed) {
    const auto points = PointsOf(truth, {1, 2, 4, 8, 16, 32}, 0.05, seed);
    const auto fit = FitLaw(points, {.find_cap = false});
    ASSERT_TRUE(fit.ok());
    Curve curve = MakeCurve(points, fit->law);
    for (const int c : {1, 2, 4, 8, 16, 32}) {
      by_law += std::abs(fit->law.MsPerToken(c) / truth.MsPerToken(c) - 1);
      by_curve += std::abs(curve.MsPerToken(c) / truth.MsPerToken(c) - 1);
    }
    curve.pull = 1;
    for (const int c : {1, 2, 4, 8, 16, 32}) by_points += std::abs(curve.MsPerToken(c) / truth.MsPerToken(c) - 1);
  }
  EXPECT_LT(by_curve, by_points);
  EXPECT_LT(by_curve, 1.4 * by_law);
}

TEST(CurveTest, ConcurrencyAtInvertsTheCurve) {
  const Law law{.a_ms = 16, .b_ms = 0.4};
  const Curve curve = MakeCurve(PointsOf(law, {1, 4, 16}), law);
  EXPECT_NEAR(curve.ConcurrencyAt(20, 100), 10, 0.01);
  EXPECT_DOUBLE_EQ(curve.ConcurrencyAt(1000, 100), 100);
  EXPECT_DOUBLE_EQ(curve.ConcurrencyAt(10, 100), 0);
}

}  // namespace
}  // namespace patella::science
