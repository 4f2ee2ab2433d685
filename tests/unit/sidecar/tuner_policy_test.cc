// What the user may change while a tuner runs.
#include <tuple>

#include "tests/unit/sidecar/tuner_world.h"

namespace patella::sidecar {
namespace {

// A tuner that has learned a limit of about 16 under a target of 50 ms, and what it may then be told.
class TunerPolicyTest : public testing::Test {
 protected:
  TunerPolicyTest() { world_.Do(tuner_, tuner_.OnEngineReady({.kv_capacity_tokens = 100000}, world_.now_s)); }
  void Follow(const TunerPolicy& policy) { world_.Do(tuner_, tuner_.Follow(policy, ++world_.now_s)); }
  World world_{.server = {.a_ms = 16, .b_ms = 2}};
  Tuner tuner_{OptionsFor(50)};
  TunerPolicy policy_ = OptionsFor(50);
};

TEST_F(TunerPolicyTest, ALowerCeilingHoldsAtOnceAndALiftedOneLetsTheLimitRise) {
  const int learned = world_.limit;
  policy_.ceiling = 5;
  Follow(policy_);
  EXPECT_EQ(world_.limit, 5);
  EXPECT_EQ(tuner_.view().bound_by, "Ceiling");
  EXPECT_EQ(tuner_.view().decisions.back().reason, "ceiling");
  policy_.ceiling = 0;
  Follow(policy_);
  EXPECT_EQ(tuner_.view().bound_by, "TimePerOutputToken");
  for (int i = 0; i < 60; ++i) {  // full load at the calibrated speed
    for (int k = 0; k < 60; ++k) tuner_.OnTokens(1, 16 + 2 * world_.limit, world_.limit, world_.limit);
    world_.Do(tuner_, tuner_.OnTick(world_.limit, ++world_.now_s));
  }
  EXPECT_NEAR(world_.limit, learned, 1);
}

TEST_F(TunerPolicyTest, OtherTargetsGiveAnotherLimitWithoutAProbe) {
  const int probes = world_.probes, learned = world_.limit;
  policy_.targets[0].target_ms = 35;
  Follow(policy_);
  EXPECT_LT(world_.limit, learned);
  EXPECT_NEAR(world_.limit, 9, 2);
  EXPECT_EQ(tuner_.view().decisions.back().reason, "objectives");
  policy_.targets[0].target_ms = 50;
  Follow(policy_);
  EXPECT_NEAR(world_.limit, learned, 1);
  EXPECT_EQ(world_.probes, probes);
}

TEST_F(TunerPolicyTest, WhatIsTheSameChangesNothing) {
  const size_t decisions = tuner_.view().decisions.size();
  EXPECT_TRUE(tuner_.Follow(policy_, ++world_.now_s).empty());
  EXPECT_EQ(tuner_.view().decisions.size(), decisions);
}

TEST_F(TunerPolicyTest, WithoutATargetTheKneeThatIsAskedForStandsInForIt) {
  using science::KneeDefinition;
  policy_.targets.clear();
  const double a_over_b = tuner_.view().a_ms / tuner_.view().b_ms;
  for (const auto& [definition, utilization, knee] : {std::tuple(KneeDefinition::kKleinrock, 0.7, a_over_b),
                                                      std::tuple(KneeDefinition::kHalfLatency, 0.7, 2.513 * a_over_b),
                                                      std::tuple(KneeDefinition::kUtilization, 0.6, 1.5 * a_over_b)}) {
    const std::string name(NameOf(definition));
    policy_.knee_definition = definition;
    policy_.knee_utilization = utilization;
    Follow(policy_);
    EXPECT_EQ(world_.limit, static_cast<int>(knee)) << name;
    EXPECT_EQ(tuner_.view().bound_by, "Knee");
    EXPECT_NE(tuner_.view().decisions.back().evidence.find(name), std::string::npos);
  }
  policy_.ceiling = 3;
  Follow(policy_);
  EXPECT_EQ(world_.limit, 3);
  EXPECT_EQ(tuner_.view().bound_by, "Ceiling");
  policy_.ceiling = 0;
  Follow(policy_);
  EXPECT_EQ(world_.limit, static_cast<int>(1.5 * a_over_b)) << "nothing but this would raise it again";
  policy_.targets = OptionsFor(35).targets;
  Follow(policy_);
  EXPECT_NEAR(world_.limit, 9, 2) << "the target binds again";
}

TEST_F(TunerPolicyTest, TheKneesByTargetAndTimeoutAreShownAndFollowTheTargets) {
  const auto knee = [this](const std::string& definition) {
    for (const KneeView& k : tuner_.view().knees) {
      if (k.definition == definition) return k.concurrency;
    }
    return 0.0;
  };
  const double a = tuner_.view().a_ms, b = tuner_.view().b_ms, cap = tuner_.view().cap;
  EXPECT_NEAR(knee("LatencyTarget"), (50 - a) / b, 1e-9);
  EXPECT_NEAR(knee("Timeout"), 0.8 * 60 * (1000 * cap / (a + b * cap)) / 64, 1e-6);
  policy_.targets[0].target_ms = 35;
  Follow(policy_);
  EXPECT_NEAR(knee("LatencyTarget"), (35 - a) / b, 1e-9);
  policy_.targets.clear();
  Follow(policy_);
  EXPECT_EQ(knee("LatencyTarget"), 0) << "there is no target";
  EXPECT_GT(knee("Timeout"), 0);
}

TEST_F(TunerPolicyTest, LongerPromptsAreReckonedIntoTheLimitWithoutAProbe) {
  const int probes = world_.probes, learned = world_.limit;
  const double peak = tuner_.view().points.back().tokens_per_second;
  policy_.input_tokens = 1280;  // 64 tokens of answer: far more of each step goes into prompts
  Follow(policy_);
  EXPECT_LT(world_.limit, 0.8 * learned);
  EXPECT_LT(tuner_.view().points.back().tokens_per_second, 0.8 * peak) << "the curve is of such requests";
  EXPECT_EQ(tuner_.learned().key, KeyOf(OptionsWith(policy_)));
  EXPECT_NE(tuner_.view().decisions.back().evidence.find("1280 + 64"), std::string::npos);
  policy_.input_tokens = 128;
  Follow(policy_);
  EXPECT_NEAR(world_.limit, learned, 1);
  EXPECT_NEAR(tuner_.view().points.back().tokens_per_second, peak, 1e-6 * peak);
  EXPECT_EQ(world_.probes, probes);
}

TEST_F(TunerPolicyTest, LongerRequestsLeaveRoomForFewerInTheKvCache) {
  policy_.input_tokens = 50000 - policy_.output_tokens;
  Follow(policy_);
  EXPECT_EQ(world_.limit, 1) << "95 % of 2";
  EXPECT_EQ(tuner_.view().cap, 2);
}

TEST_F(TunerPolicyTest, AdviceFollowsTheTargetsAndTheCeilingIsEnforced) {
  policy_.mode = TuningMode::kAdvise;
  policy_.ceiling = 40;
  Follow(policy_);
  const int advised = tuner_.view().limit;
  EXPECT_EQ(world_.limit, 40);
  policy_.targets[0].target_ms = 35;
  Follow(policy_);
  EXPECT_LT(tuner_.view().limit, advised);
  EXPECT_EQ(world_.limit, 40);
  EXPECT_NE(tuner_.view().message.find("advice: limit"), std::string::npos) << tuner_.view().message;
}

TEST_F(TunerPolicyTest, OffEnforcesNoPromptBudget) {
  policy_.targets.push_back({science::LatencyMetric::kTimeToFirstToken, 0.9, 500});
  Follow(policy_);
  EXPECT_GT(world_.prompts.tokens, 0);
  const double ms = world_.prompts.step_ms + world_.prompts.ms_per_token * static_cast<double>(world_.prompts.tokens);
  EXPECT_NEAR(ms, 450, 1) << "nine tenths of the target";
  policy_.mode = TuningMode::kOff;
  Follow(policy_);
  EXPECT_EQ(world_.prompts.tokens, 0);
}

TEST_F(TunerPolicyTest, OffAndBackToAuto) {
  const int learned = world_.limit;
  policy_.mode = TuningMode::kOff;
  policy_.ceiling = 64;
  Follow(policy_);
  EXPECT_EQ(world_.limit, 64);
  policy_.mode = TuningMode::kAuto;
  Follow(policy_);
  EXPECT_NEAR(world_.limit, learned, 1);
}

TEST(TunerTest, APolicyThatComesDuringCalibrationHoldsAsSoonAsItIsOver) {
  World world{.server = {.a_ms = 16, .b_ms = 2}};
  Tuner tuner(OptionsFor(50));
  const TunerActions begin = tuner.OnEngineReady({}, world.now_s);
  TunerPolicy policy = OptionsFor(50);
  policy.ceiling = 4;
  EXPECT_TRUE(tuner.Follow(policy, world.now_s).empty());
  world.Do(tuner, begin);
  EXPECT_TRUE(world.admitted);
  EXPECT_EQ(world.limit, 4);
}

}  // namespace
}  // namespace patella::sidecar
