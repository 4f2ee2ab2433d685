// The tuner in virtual time, against the simulated server that the science tests use.
#include "sidecar/tuner/tuner.h"

#include <gtest/gtest.h>

#include <optional>

#include "sidecar/tuner/live.h"
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
  Tuner tuner(options);
  world.Do(tuner, tuner.OnEngineReady({}, 0));
  EXPECT_EQ(world.limit, 16);
  EXPECT_EQ(world.probes, 0);
  EXPECT_FALSE(world.saved);
}

// Streams under full load, each with this time per output token.
void Feed(LiveTracker& tracker, int streams, double ms, double& now_s) {
  for (int i = 0; i < streams; ++i) {
    const double admitted_s = now_s;
    now_s += 0.05;
    tracker.OnStream(admitted_s, {ms}, true, now_s);
  }
}

TEST(LiveTrackerTest, TheGuardCutsAtOnceWhenTheQuantileIsMissed) {
  LiveTracker tracker({{"TimePerOutputToken", 0.9, 50}}, 20, 128);
  double now_s = 100;
  Feed(tracker, 30, 70, now_s);
  const Move move = tracker.OnTick(20, now_s);
  EXPECT_EQ(move.reason, "guard");
  EXPECT_EQ(move.limit, 15);
}

TEST(LiveTrackerTest, TheLimitRisesSlowlyWhileNothingIsMissedAndDemandIsHigh) {
  LiveTracker tracker({{"TimePerOutputToken", 0.9, 50}}, 20, 128);
  double now_s = 100;
  for (int tick = 0; tick < 30; ++tick) {
    Feed(tracker, 20, 30, now_s);
    const int before = tracker.limit();
    tracker.OnTokens(200, 200 * 30, before, now_s);
    tracker.OnTick(before, now_s);
    EXPECT_LE(tracker.limit(), std::max(before + 1, static_cast<int>(before * 1.12)));
  }
  EXPECT_GT(tracker.limit(), 22);
}

TEST(LiveTrackerTest, TheLimitDoesNotRiseWhereTheNextRequestWouldMiss) {
  LiveTracker tracker({{"TimePerOutputToken", 0.9, 50}}, 20, 128);
  double now_s = 100;
  for (int tick = 0; tick < 60; ++tick) {
    Feed(tracker, 20, 47, now_s);
    tracker.OnTokens(200, 200 * 46.5, 20, now_s);
    EXPECT_EQ(tracker.OnTick(20, now_s).limit, 0);
  }
}

TEST(LiveTrackerTest, StreamsAdmittedBeforeTheLastChangeDoNotJudgeIt) {
  LiveTracker tracker({{"TimePerOutputToken", 0.9, 50}}, 20, 128);
  double now_s = 100;
  const double before = now_s;
  Feed(tracker, 30, 70, now_s);
  ASSERT_EQ(tracker.OnTick(20, now_s).limit, 15);
  for (int i = 0; i < 40; ++i) tracker.OnStream(before, {70.0}, true, now_s);
  EXPECT_EQ(tracker.OnTick(15, now_s).limit, 0);
}

TEST(LiveTrackerTest, IdleTrafficMovesNothing) {
  LiveTracker tracker({{"TimePerOutputToken", 0.9, 50}}, 20, 128);
  double now_s = 100;
  for (int i = 0; i < 200; ++i) tracker.OnStream(now_s, {10.0}, /*loaded=*/false, now_s);
  EXPECT_EQ(tracker.OnTick(2, now_s).limit, 0);
}

}  // namespace
}  // namespace patella::sidecar
