#include "lib/science/knee.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace patella::science {
namespace {

constexpr Law kLaw{.a_ms = 32, .b_ms = 0.8};

TEST(KneeTest, EveryDefinitionIsItsClosedForm) {
  const KneeInputs inputs{.target_ms = 50, .utilization = 0.8, .timeout_s = 60, .output_tokens = 256};
  EXPECT_NEAR(Knee(KneeDefinition::kLatencyTarget, kLaw, inputs)->concurrency, 22.5, 1e-9);
  EXPECT_NEAR(Knee(KneeDefinition::kLatencyTarget, kLaw, inputs)->utilization, 1 - 32.0 / 50, 1e-9);
  EXPECT_NEAR(Knee(KneeDefinition::kKleinrock, kLaw, inputs)->concurrency, 40, 1e-9);
  EXPECT_NEAR(Knee(KneeDefinition::kKleinrock, kLaw, inputs)->utilization, 0.5, 1e-9);
  EXPECT_NEAR(Knee(KneeDefinition::kHalfLatency, kLaw, inputs)->concurrency, 2.513 * 40, 0.05);
  EXPECT_NEAR(Knee(KneeDefinition::kHalfLatency, kLaw, inputs)->ms_per_token / 32, 3.513, 0.001);
  EXPECT_NEAR(Knee(KneeDefinition::kUtilization, kLaw, inputs)->concurrency, 160, 1e-9);
  EXPECT_NEAR(Knee(KneeDefinition::kDoublingGain25, kLaw, inputs)->utilization, 0.6, 1e-9);
  EXPECT_NEAR(Knee(KneeDefinition::kTimeout, kLaw, inputs)->concurrency, 0.8 * 60 * 1250 / 256, 1e-9);
  EXPECT_EQ(Knee(KneeDefinition::kKvCap, kLaw, inputs), std::nullopt);
}

TEST(KneeTest, DoublingGainsAQuarterAtItsKnee) {
  const double c = Knee(KneeDefinition::kDoublingGain25, kLaw)->concurrency;
  EXPECT_NEAR(kLaw.TokensPerSecond(2 * c) / kLaw.TokensPerSecond(c), 1.25, 1e-9);
}

TEST(KneeTest, KleinrockPowerIsLargestAtItsKnee) {
  const auto power = [](double c) { return kLaw.TokensPerSecond(c) / kLaw.MsPerToken(c); };
  const double c = Knee(KneeDefinition::kKleinrock, kLaw)->concurrency;
  EXPECT_GT(power(c), power(0.98 * c));
  EXPECT_GT(power(c), power(1.02 * c));
}

// Patel's rule: latency is twice its mean over all lower loads. 1/(1 − u) has the mean −ln(1 − u)/u up to u.
TEST(KneeTest, AtTheHalfLatencyKneeLatencyIsTwiceItsMeanOverLowerLoads) {
  const double u = kHalfLatencyUtilization;
  EXPECT_NEAR(1 / (1 - u), 2 * -std::log(1 - u) / u, 1e-12);
  EXPECT_NEAR(kHalfLatencyRatio, u / (1 - u), 1e-12);
}

TEST(KneeTest, NoKneeOfShapeWhereBatchingGainsNothing) {
  const Law flat{.a_ms = 6, .b_ms = 11};
  EXPECT_FALSE(BatchingGains(flat));
  const auto knees = AllKnees(flat, {.target_ms = 50});
  ASSERT_EQ(knees.size(), 1u);
  EXPECT_EQ(knees[0].definition, KneeDefinition::kLatencyTarget);
}

TEST(KneeTest, NoKneeIsPlacedBeyondTheCapExceptTheTimeout) {
  const Law capped{.a_ms = 32, .b_ms = 0.8, .cap = 27};
  for (const KneeEstimate& knee : AllKnees(capped, {.target_ms = 200, .timeout_s = 60, .output_tokens = 256})) {
    if (knee.definition == KneeDefinition::kTimeout) continue;
    EXPECT_LE(knee.concurrency, 27) << NameOf(knee.definition);
  }
  EXPECT_TRUE(Knee(KneeDefinition::kHalfLatency, capped)->at_cap);
}

}  // namespace
}  // namespace patella::science
