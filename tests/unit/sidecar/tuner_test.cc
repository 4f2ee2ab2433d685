// From the start to the first limit, and what follows when there is none.
#include <memory>

#include "tests/unit/sidecar/tuner_world.h"

namespace patella::sidecar {
namespace {

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

TEST(TunerTest, LiveTrafficRaisesTheLimitToNoMoreThanTheKvCachesShare) {
  World world{.server = {.a_ms = 16, .b_ms = 0.1}};
  Tuner tuner(OptionsFor(50));
  world.Do(tuner, tuner.OnEngineReady({.kv_capacity_tokens = 40 * 192}, world.now_s));
  for (int second = 0; second < 60; ++second) {  // full load, far below the target
    for (int i = 0; i < 60; ++i) tuner.OnTokens(1, 16 + 0.1 * world.limit, world.limit, world.limit);
    world.Do(tuner, tuner.OnTick(world.limit, ++world.now_s));
    ASSERT_LE(world.limit, 38) << "95 % of 40";
  }
  EXPECT_EQ(world.limit, 38);
  EXPECT_EQ(tuner.learned().most, 38) << "what objectives are judged by is no more than can be in force";
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
  options.resumed = {.key = KeyOf(options), .limit = 20, .bound_by = "TimePerOutputToken", .a_ms = 10, .b_ms = 2};
  options.resumed.step_model = science::StepModelOf({.a_ms = 10, .b_ms = 2});
  Tuner tuner(options);
  world.Do(tuner, tuner.OnEngineReady({}, 0));
  EXPECT_EQ(world.limit, 16);
  EXPECT_EQ(world.probes, 0);
  EXPECT_FALSE(world.saved);
}

// A replica that starts where others run already.
class PeersTest : public testing::Test {
 protected:
  PeersTest() {
    options_.clustered = true;
    world_.peers = {Peer("pod-a", 20)};
  }
  Learned Peer(const std::string& pod, int limit) const {
    Learned peer{.key = KeyOf(options_), .limit = limit, .bound_by = "TimePerOutputToken", .confidence = "High"};
    peer.pod = pod;
    peer.a_ms = 10, peer.b_ms = 2;
    peer.points = {{1, 12, 83, 10}, {8, 26, 307, 10}};
    peer.step_model = science::StepModelOf({.a_ms = 10, .b_ms = 2});
    return peer;
  }
  void Start(const EngineFacts& facts = {}) {
    tuner_ = std::make_unique<Tuner>(options_);
    world_.Do(*tuner_, tuner_->OnEngineReady(facts, world_.now_s));
  }
  TunerOptions options_ = OptionsFor(50);
  World world_{.server = {.a_ms = 16, .b_ms = 2}};
  std::unique_ptr<Tuner> tuner_;
};

TEST_F(PeersTest, ItBeginsAtFourFifthsOfAPeersLimitWithoutAProbe) {
  Start();
  EXPECT_EQ(world_.probes, 0);
  EXPECT_TRUE(world_.admitted);
  EXPECT_EQ(world_.limit, 16);
  EXPECT_EQ(tuner_->view().confidence, "Low");
  EXPECT_EQ(tuner_->view().points.size(), 2u);
  ASSERT_EQ(tuner_->view().decisions.size(), 1u);
  EXPECT_EQ(tuner_->view().decisions[0].reason, "peer");
  EXPECT_EQ(tuner_->view().decisions[0].evidence,
            "80 % of 20, measured by pod-a (confidence High); live traffic verifies it");
  EXPECT_TRUE(world_.saved) << "a restart needs neither peer nor probe";
}

TEST_F(PeersTest, LiveTrafficRaisesItToThePeersLimitAndThenVouchesForIt) {
  Start();
  bool early = false;
  for (int second = 0; second < 60; ++second) {
    const double ms = 0.94 * (10 + 2 * world_.limit);
    for (int i = 0; i < 60; ++i) tuner_->OnTokens(1, ms, world_.limit, world_.limit);
    for (int i = 0; i < 5; ++i) {
      tuner_->OnStream({.admitted_s = world_.now_s, .time_per_output_token_ms = ms, .output_tokens = 64});
    }
    world_.Do(*tuner_, tuner_->OnTick(world_.limit, ++world_.now_s));
    early = early || (second < 4 && tuner_->view().confidence != "Low");
  }
  EXPECT_FALSE(early) << "twenty streams are no proof";
  EXPECT_GE(world_.limit, 19);
  EXPECT_EQ(tuner_->view().confidence, "Medium");
}

TEST_F(PeersTest, WhatItHandsOnIsTheLimitItWasGivenNotItsCautiousStart) {
  Start();
  EXPECT_EQ(tuner_->learned().limit, 20);
  world_.peers = {tuner_->learned()};
  Start();
  EXPECT_EQ(world_.limit, 16);
}

TEST_F(PeersTest, ItMeasuresItselfWhereNoPeerHasAnythingToBeginFrom) {
  Learned other_target = Peer("pod-b", 20), broken = Peer("pod-c", 20);
  TunerOptions others = options_;
  others.targets[0].target_ms = 60;
  other_target.key = KeyOf(others);
  broken.step_model.points[1].ms = std::numeric_limits<double>::quiet_NaN();
  world_.peers = {other_target, broken, Peer("pod-d", 0)};
  Start();
  EXPECT_EQ(world_.asked, 1);
  EXPECT_EQ(world_.probes, 1);
  EXPECT_EQ(tuner_->view().decisions.back().reason, "verified");
  EXPECT_EQ(tuner_->learned().limit, world_.limit);
}

TEST_F(PeersTest, ItsOwnMemoryOverARestartComesFirst) {
  options_.resumed = Peer("", 10);
  Start();
  EXPECT_EQ(world_.asked, 0);
  EXPECT_EQ(world_.limit, 8);
}

TEST_F(PeersTest, ItsOwnMemoryIsNotUsedForObjectivesThatCameBeforeTheEngine) {
  options_.resumed = Peer("", 10);
  Tuner tuner(options_);
  TunerPolicy policy = options_;
  policy.targets[0].target_ms = 60;
  EXPECT_TRUE(tuner.Follow(policy, world_.now_s).empty());
  static_cast<TunerPolicy&>(options_) = policy;
  world_.peers = {Peer("pod-a", 20)};
  world_.Do(tuner, tuner.OnEngineReady({}, world_.now_s));
  EXPECT_EQ(world_.asked, 1);
  EXPECT_EQ(tuner.view().decisions.at(0).reason, "peer");
}

TEST_F(PeersTest, OfSeveralTheSurestAndOfThoseTheMedianIsTaken) {
  Learned unsure = Peer("pod-z", 50);
  unsure.confidence = "Low";
  world_.peers = {Peer("pod-a", 20), unsure, Peer("pod-b", 10), Peer("pod-c", 40)};
  Start();
  EXPECT_EQ(tuner_->learned().limit, 20);
}

TEST_F(PeersTest, ASmallerKvCacheOfItsOwnBounds) {
  Start({.kv_capacity_tokens = 10 * 192});
  EXPECT_EQ(world_.limit, 7) << "four fifths of 9, the share of 10 that is used";
  EXPECT_EQ(tuner_->view().bound_by, "KvCapacity");
}

TEST_F(PeersTest, WithoutATargetNothingWouldRaiseACautiousStartSoTheWholeLimitIsTaken) {
  options_.targets.clear();
  world_.peers = {Peer("pod-a", 20)};
  Start();
  EXPECT_EQ(world_.limit, 20);
  EXPECT_EQ(tuner_->view().confidence, "High");
}

TEST_F(PeersTest, AnAnswerThatNobodyAskedForChangesNothing) {
  Start();
  EXPECT_TRUE(tuner_->OnPeers({Peer("pod-a", 40)}, ++world_.now_s).empty());
  EXPECT_EQ(tuner_->view().limit, 16);
}

TEST_F(PeersTest, ACalibrationThatFailsIsTriedAgainLaterAndLaterAndPeersAreAskedFirst) {
  world_.peers.clear();
  Tuner tuner(options_);
  const auto fail = [&](TunerActions actions) {
    if (std::holds_alternative<AskPeers>(actions.at(0))) actions = tuner.OnPeers({}, world_.now_s);
    ASSERT_TRUE(std::holds_alternative<RunProbe>(actions.at(0)));
    world_.now_s += 30;
    world_.Do(tuner, tuner.OnProbeEnd({.end = ProbeEnd::kTimedOut}, world_.now_s));
  };
  fail(tuner.OnEngineReady({}, world_.now_s));
  EXPECT_EQ(world_.exit_code, std::nullopt);
  EXPECT_EQ(tuner.view().state, TunerState::kDegraded);
  EXPECT_EQ(tuner.view().failure, kExitTooNoisy);
  EXPECT_NE(tuner.view().message.find("measured again in 5 s"), std::string::npos) << tuner.view().message;
  EXPECT_TRUE(tuner.OnTick(0, world_.now_s + 4).empty());
  world_.now_s += 5;
  fail(tuner.OnTick(0, world_.now_s));
  for (int i = 0; i < 8; ++i) {
    world_.now_s += 300;
    fail(tuner.OnTick(0, world_.now_s));
  }
  EXPECT_EQ(world_.retries[0], 5);
  EXPECT_EQ(world_.retries[1], 10);
  EXPECT_EQ(world_.retries.back(), 300);
  EXPECT_FALSE(tuner.view().error.empty()) << "told until one succeeds";
  world_.peers = {Peer("pod-a", 20)};
  world_.now_s += 300;
  world_.Do(tuner, tuner.OnTick(0, world_.now_s));
  EXPECT_TRUE(world_.admitted);
  EXPECT_EQ(world_.limit, 16);
  EXPECT_EQ(tuner.view().error, "");
}

TEST_F(PeersTest, AnEngineThatStopsAnsweringInACalibrationIsLeftToTheProbeToTell) {
  world_.peers.clear();
  Tuner tuner(options_);
  tuner.OnEngineReady({}, 0);
  tuner.OnPeers({}, 1);
  EXPECT_TRUE(tuner.OnEngineLost("no answer", 5).empty());
  world_.Do(tuner, tuner.OnProbeEnd({.end = ProbeEnd::kEngineGone, .why = "connection refused"}, 6));
  EXPECT_EQ(world_.retries, std::vector<double>{5});
  EXPECT_EQ(world_.exit_code, std::nullopt);
  Tuner never(options_);
  world_.Do(never, never.OnEngineMissing("cannot be reached", 600));
  EXPECT_EQ(world_.exit_code, kExitEngineGone) << "an engine that never came ends the program as before";
}

// The figure of the message, and that of the judgement which the object's status shows, are one.
TEST_F(PeersTest, AnImpossibleTargetWaitsForOthersAndTellsTheNearestThatCanBeMet) {
  options_ = OptionsFor(10);
  options_.clustered = true;
  world_.peers.clear();
  Start();
  EXPECT_EQ(world_.exit_code, std::nullopt);
  EXPECT_FALSE(world_.admitted);
  EXPECT_EQ(tuner_->view().failure, kExitImpossibleTarget);
  const Learned learned = tuner_->learned();
  ASSERT_TRUE(HasCurve(learned));
  EXPECT_FALSE(Usable(learned)) << "no limit to begin from";
  const science::Feasibility judged = science::JudgeObjectives(
      {.model = learned.step_model, .level = learned.level, .payload = learned.payload, .spreads = learned.spreads},
      {.targets = {{science::LatencyMetric::kTimePerOutputToken, 0.9, 10}}, .max_replicas = 8});
  ASSERT_EQ(judged.relaxations.size(), 1u);
  EXPECT_NE(tuner_->view().error.find("the nearest target that can is " + judged.relaxations[0].nearest),
            std::string::npos)
      << tuner_->view().error << " / " << judged.message;
  EXPECT_NEAR(std::stod(judged.relaxations[0].nearest), 19, 2);  // 16 + 2 ms, and the quantile above it

  const int probes = world_.probes;
  world_.Do(*tuner_, tuner_->Follow(OptionsFor(50), ++world_.now_s));
  EXPECT_EQ(world_.probes, probes + 1) << "at once, not when the next try is due";
  EXPECT_TRUE(world_.admitted);
  EXPECT_NEAR(world_.limit, 15, 3);
}

}  // namespace
}  // namespace patella::sidecar
