// The tuner in virtual time, against the simulated server that the science tests use.
#include "sidecar/tuner/tuner.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/unit/science/simulator.h"

namespace patella::sidecar {
namespace {

using science::ServerConfig;

TunerOptions OptionsFor(double target_ms) {
  TunerOptions options;
  options.input_tokens = 128;
  options.output_tokens = 64;
  options.max_calibration_s = 300;
  if (target_ms > 0) options.targets = {{"TimePerOutputToken", 0.9, target_ms}};
  return options;
}

// What came of a calibration: carries out the tuner's actions, each probe against a fresh server of this kind.
struct World {
  ServerConfig server;
  double now_s = 1000;
  int limit = 0;
  bool admitted = false, saved = false;
  std::optional<int> exit_code;
  int probes = 0;

  void Do(Tuner& tuner, const TunerActions& actions) {
    for (const TunerAction& action : actions) {
      if (const auto* set = std::get_if<SetLimit>(&action)) limit = set->limit;
      if (std::holds_alternative<AdmitUsers>(action)) admitted = true;
      if (std::holds_alternative<Save>(action)) saved = true;
      if (const auto* exit = std::get_if<Exit>(&action)) exit_code = exit->code;
      if (const auto* run = std::get_if<RunProbe>(&action)) {
        EXPECT_FALSE(admitted) << "users were admitted while a probe ran";
        ++probes;
        server.seed += 1;
        science::Server simulated(server);
        const double seconds = science::Drive(simulated, *run->probe, run->deadline_s);
        now_s += seconds;
        ProbeReport report{
            .end = run->probe->done() ? ProbeEnd::kDone : ProbeEnd::kTimedOut, .tokens = 100, .seconds = seconds};
        return Do(tuner, tuner.OnProbeEnd(report, now_s));
      }
    }
  }
};

TEST(TunerTest, FindsTheLimitOfALinearServerAndAdmitsUsersOnlyThen) {
  // Time per output token at c: 16 + 2·c + (c − 1)·(2 + 0.05·128)/64 ms; 50 ms at the mean are reached near c = 16.
  World world{.server = {.a_ms = 16, .b_ms = 2}};
  Tuner tuner(OptionsFor(50));
  world.Do(tuner, tuner.OnEngineReady({}, world.now_s));
  EXPECT_FALSE(world.exit_code.has_value()) << tuner.view().error;
  EXPECT_TRUE(world.admitted);
  EXPECT_TRUE(world.saved);
  EXPECT_EQ(tuner.view().state, TunerState::kReady);
  EXPECT_GE(world.limit, 13);
  EXPECT_LE(world.limit, 17);
  EXPECT_EQ(tuner.view().bound_by, "TimePerOutputToken");
  EXPECT_FALSE(tuner.view().verify.empty());
  EXPECT_LE(tuner.view().verify.size(), 3u);
  EXPECT_GE(tuner.view().points.size(), 4u);
  ASSERT_FALSE(tuner.view().decisions.empty());
  EXPECT_EQ(tuner.view().decisions.back().to, world.limit);
  EXPECT_FALSE(tuner.view().decisions.back().evidence.empty());
}

TEST(TunerTest, TheSameEventsGiveTheSameDecisions) {
  TunerView views[2];
  for (TunerView& view : views) {
    World world{.server = {.a_ms = 10, .b_ms = 3}};
    Tuner tuner(OptionsFor(60));
    world.Do(tuner, tuner.OnEngineReady({}, world.now_s));
    view = tuner.view();
  }
  EXPECT_EQ(views[0].limit, views[1].limit);
  EXPECT_EQ(views[0].a_ms, views[1].a_ms);
  EXPECT_EQ(views[0].decisions.back().evidence, views[1].decisions.back().evidence);
}

TEST(TunerTest, ATargetBelowTheUnloadedLatencyEndsWithASentenceAndItsExitCode) {
  World world{.server = {.a_ms = 16, .b_ms = 2}};
  Tuner tuner(OptionsFor(10));
  world.Do(tuner, tuner.OnEngineReady({}, world.now_s));
  EXPECT_EQ(world.exit_code, kExitImpossibleTarget);
  EXPECT_FALSE(world.admitted);
  EXPECT_EQ(tuner.view().state, TunerState::kDegraded);
  EXPECT_NE(tuner.view().error.find("10"), std::string::npos) << tuner.view().error;
}

TEST(TunerTest, AnEngineThatDiesDuringTheRampEndsWithItsExitCode) {
  Tuner tuner(OptionsFor(50));
  World world;
  const TunerActions actions = tuner.OnEngineReady({}, 0);
  ASSERT_TRUE(std::holds_alternative<RunProbe>(actions.at(0)));
  world.Do(tuner, tuner.OnProbeEnd({.end = ProbeEnd::kEngineGone, .why = "connection refused"}, 5));
  EXPECT_EQ(world.exit_code, kExitEngineGone);
  EXPECT_NE(tuner.view().error.find("connection refused"), std::string::npos);
}

TEST(TunerTest, TheKvCacheBindsWhereItIsSmallerThanTheTargetAllows) {
  World world{.server = {.a_ms = 16, .b_ms = 0.5}};
  Tuner tuner(OptionsFor(50));
  world.Do(tuner, tuner.OnEngineReady({.kv_capacity_tokens = 10 * 192}, world.now_s));
  EXPECT_TRUE(world.admitted) << tuner.view().error;
  EXPECT_LE(world.limit, 9);
  EXPECT_EQ(tuner.view().bound_by, "KvCapacity");
}

TEST(TunerTest, TheUsersCeilingIsNeverExceeded) {
  World world{.server = {.a_ms = 16, .b_ms = 0.5}};
  TunerOptions options = OptionsFor(50);
  options.ceiling = 8;
  Tuner tuner(options);
  world.Do(tuner, tuner.OnEngineReady({}, world.now_s));
  EXPECT_EQ(world.limit, 8);
  EXPECT_EQ(tuner.view().bound_by, "Ceiling");
}

TEST(TunerTest, OffEnforcesTheCeilingWithoutAnyProbe) {
  World world;
  TunerOptions options = OptionsFor(50);
  options.mode = TuningMode::kOff;
  options.ceiling = 7;
  Tuner tuner(options);
  world.Do(tuner, tuner.OnEngineReady({}, 0));
  EXPECT_EQ(world.limit, 7);
  EXPECT_TRUE(world.admitted);
  EXPECT_EQ(world.probes, 0);
}

TEST(TunerTest, ARestartResumesAtFourFifthsOfWhatItKnewWithoutAProbe) {
  World world;
  TunerOptions options = OptionsFor(50);
  options.resumed = {.limit = 20, .bound_by = "TimePerOutputToken", .a_ms = 10, .b_ms = 2};
  options.resumed.step_model = science::StepModelOf({.a_ms = 10, .b_ms = 2});
  Tuner tuner(options);
  world.Do(tuner, tuner.OnEngineReady({}, 0));
  EXPECT_EQ(world.limit, 16);
  EXPECT_EQ(world.probes, 0);
  EXPECT_FALSE(world.saved);
}

// A tuner that has learned a limit of about 16 under a target of 50 ms, and what it may then be told.
class PolicyTest : public testing::Test {
 protected:
  PolicyTest() { world_.Do(tuner_, tuner_.OnEngineReady({.kv_capacity_tokens = 100000}, world_.now_s)); }
  void Follow(const TunerPolicy& policy) { world_.Do(tuner_, tuner_.Follow(policy, ++world_.now_s)); }
  World world_{.server = {.a_ms = 16, .b_ms = 2}};
  Tuner tuner_{OptionsFor(50)};
  TunerPolicy policy_{.targets = {{"TimePerOutputToken", 0.9, 50}}};
};

TEST_F(PolicyTest, ALowerCeilingHoldsAtOnceAndALiftedOneLetsTheLimitRise) {
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
    for (int k = 0; k < 60; ++k) tuner_.OnTokens(1, 16 + 2 * world_.limit, world_.limit);
    world_.Do(tuner_, tuner_.OnTick(world_.limit, ++world_.now_s));
  }
  EXPECT_NEAR(world_.limit, learned, 1);
}

TEST_F(PolicyTest, OtherTargetsGiveAnotherLimitWithoutAProbe) {
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

TEST_F(PolicyTest, WhatIsTheSameChangesNothing) {
  const size_t decisions = tuner_.view().decisions.size();
  EXPECT_TRUE(tuner_.Follow(policy_, ++world_.now_s).empty());
  EXPECT_EQ(tuner_.view().decisions.size(), decisions);
}

TEST_F(PolicyTest, OffAndBackToAuto) {
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
  EXPECT_TRUE(tuner.Follow({.targets = {{"TimePerOutputToken", 0.9, 50}}, .ceiling = 4}, world.now_s).empty());
  world.Do(tuner, begin);
  EXPECT_TRUE(world.admitted);
  EXPECT_EQ(world.limit, 4);
}

}  // namespace
}  // namespace patella::sidecar
