// The limit under live overload in virtual time, against every fixed limit on the same seeds.
#include "lib/science/track.h"

#include <gtest/gtest.h>

#include "tests/unit/science/overload.h"
#include "tests/unit/seed.h"

namespace patella::science {
namespace {

// Mean time per output token at c with 128 tokens in and 64 out: 8 + 1.6·c + (c − 1)·0.25·128/64; 50 ms near c = 20.
constexpr int kBelieved = 20;
constexpr int kSeeds = 6;

Load BusyLoad() {
  Load load;
  load.server = {.a_ms = 8,
                 .b_ms = 1.6,
                 .prefill_ms = 0,
                 .prefill_ms_per_token = 0.25,
                 .chunk_tokens = 512,
                 .noise = 0.05,
                 .wander = 0.06};
  load.seconds = 140;
  return load;
}

Load PoissonLoad(std::vector<std::pair<int, int>> sizes) {
  Load load = BusyLoad();
  load.rate_per_s = 3 * 400.0 / 64;  // three times what the server can do
  load.sizes = std::move(sizes);
  return load;
}

const std::vector<std::pair<int, int>> kTwoSizes = {{64, 64}, {256, 64}};

TrackConfig ConfigFor(const Load& load, double model_error = 1) {
  const ServerConfig& s = load.server;
  return {.model = {.points = {{1, model_error * (s.a_ms + s.b_ms)}, {16, model_error * (s.a_ms + 16 * s.b_ms)}},
                    .prompt_ms_per_token = model_error * s.prefill_ms_per_token},
          .payload = {.input_tokens = 128, .output_tokens = 64},
          .targets = {{LatencyMetric::kTimePerOutputToken, 0.9, load.target_ms}},
          .believed = kBelieved,
          .start = kBelieved,
          .most = 128};
}

class TrackedLimit final : public LiveLimit {
 public:
  explicit TrackedLimit(TrackConfig config) : tracker_(std::move(config)) {}
  int limit() const override { return tracker_.limit(); }
  void OnFirstToken(int prompt_tokens, int decoding, double) override {
    tracker_.OnPromptComputed(prompt_tokens, decoding);
  }
  void OnTokens(int tokens, double gap_ms, int decoding, int in_flight, double) override {
    tracker_.OnTokens(tokens, gap_ms, decoding, in_flight);
  }
  void OnStream(double admitted_s, double ms, int, int output, double) override {
    tracker_.OnStream({.admitted_s = admitted_s, .time_per_output_token_ms = ms, .output_tokens = output});
  }
  void OnTick(int in_flight, double now_s) override { tracker_.OnTick(in_flight, now_s); }

 private:
  LimitTracker tracker_;
};

struct Outcome {
  double goodput = 0, p90_ms = 0, limit = 0, deviation = 0;  // means over the seeds
};

template <typename MakeLimit>
Outcome Mean(Load load, MakeLimit make) {
  Outcome mean;
  const uint64_t first = Seed(1);
  for (load.seed = first; load.seed < first + kSeeds; ++load.seed) {
    auto limit = make();
    const Held held = Serve(load, limit);
    mean.goodput += held.goodput / kSeeds, mean.p90_ms += held.p90_ms / kSeeds, mean.limit += held.mean_limit / kSeeds;
    mean.deviation += held.limit_deviation / kSeeds;
  }
  return mean;
}

double BestFixedGoodput(const Load& load, int from = 8, int to = 26) {
  double best = 0;
  for (int k = from; k <= to; k += 2) best = std::max(best, Mean(load, [k] { return FixedLimit(k); }).goodput);
  return best;
}

Outcome Tracked(const Load& load, double model_error = 1) {
  return Mean(load, [&] { return TrackedLimit(ConfigFor(load, model_error)); });
}

// The acceptance of a held target: the quantile within a tenth, goodput at least 95 % of the best fixed limit's.
void ExpectHeld(const Load& load, const Outcome& outcome) {
  EXPECT_LE(outcome.p90_ms, load.target_ms) << "limit " << outcome.limit;
  EXPECT_GE(outcome.goodput, 0.97 * BestFixedGoodput(load)) << "limit " << outcome.limit;
}

TEST(LimitTrackerTest, HoldsTheTargetInAClosedLoopOfThreeTimesTheLoad) {
  Load load = BusyLoad();
  load.clients = 3 * kBelieved;
  ExpectHeld(load, Tracked(load));
}

TEST(LimitTrackerTest, HoldsTheTargetUnderPoissonArrivalsOfTwoSizes) {
  const Load load = PoissonLoad(kTwoSizes);
  ExpectHeld(load, Tracked(load));
}

TEST(LimitTrackerTest, HoldsTheTargetOnAServerThatStopsDecodingToPrefill) {
  Load load = PoissonLoad(kTwoSizes);
  load.server.chunk_tokens = 0;
  ExpectHeld(load, Tracked(load));
}

TEST(LimitTrackerTest, FollowsARequestMixThatIsNotTheCalibratedOne) {
  const Load load = PoissonLoad({{512, 32}, {128, 128}});
  const Outcome tracked = Tracked(load);
  ExpectHeld(load, tracked);
  EXPECT_LT(tracked.limit, kBelieved - 3);
}

TEST(LimitTrackerTest, BeatsEveryFixedLimitOnAMachineWhoseSpeedWanders) {
  Load load = PoissonLoad(kTwoSizes);
  load.server.wander = 0.15;
  const Outcome tracked = Tracked(load);
  EXPECT_LE(tracked.p90_ms, load.target_ms);
  EXPECT_GE(tracked.goodput, BestFixedGoodput(load));
}

TEST(LimitTrackerTest, FollowsAServerThatBecomesSlower) {
  Load load = BusyLoad();
  load.clients = 3 * kBelieved;
  load.server.jump_at_s = 60, load.server.jump_factor = 1.4;
  ExpectHeld(load, Tracked(load));
}

TEST(LimitTrackerTest, ALawThatIsWrongByAThirdCostsLittle) {
  const Load load = PoissonLoad(kTwoSizes);
  for (const double error : {0.7, 1.3}) ExpectHeld(load, Tracked(load, error));
}

// Clients who all begin at once: their requests go on in waves, half a wave computes prompts, half of it decodes.
Load WavesLoad() {
  Load load = BusyLoad();
  load.server.a_ms = 19, load.server.b_ms = 0.31, load.server.prefill_ms_per_token = 0.25;
  load.target_ms = 75;
  load.clients = 3 * 55;
  load.stagger_s = 0;
  load.pause_s = 1;
  return load;
}

TEST(LimitTrackerTest, WavesOfRequestsAreNotTakenForAServerThatChangesItsSpeed) {
  const Load load = WavesLoad();
  const double best = BestFixedGoodput(load, 40, 68);
  for (const double error : {0.4, 0.6, 0.8, 1.0, 1.25}) {  // of what a step costs without prompts
    TrackConfig config = ConfigFor(load);
    for (StepModel::Point& point : config.model.points) point.ms *= error;
    config.believed = config.start = 55;
    const Outcome outcome = Mean(load, [&] { return TrackedLimit(config); });
    EXPECT_LE(outcome.p90_ms, load.target_ms) << "limit " << outcome.limit << ", error " << error;
    EXPECT_GE(outcome.goodput, 0.97 * best) << "limit " << outcome.limit << ", error " << error;
  }
}

// The first to answer wait for the prompts of all the others, and the short answers end first: once, not for as long as the load lasts.
TEST(LimitTrackerTest, TheArrivalOfACrowdDoesNotLowerTheLimit) {
  Load load = WavesLoad();
  load.server.wander = 0;
  load.sizes.clear();
  for (int output = 13; output <= 113; output += 10) load.sizes.emplace_back(128, output);
  load.seconds = 30, load.warm_s = 0;
  TrackConfig config = ConfigFor(load);
  config.model.points = {{1, load.server.a_ms + load.server.b_ms}, {64, load.server.a_ms + 64 * load.server.b_ms}};
  config.believed = config.start = 50;
  const uint64_t first = Seed(1);
  for (load.seed = first; load.seed < first + kSeeds; ++load.seed) {
    TrackedLimit limit(config);
    EXPECT_GE(Serve(load, limit).least_limit, 41) << "seed " << load.seed;
  }
}

// A server whose throughput hardly grows beyond 8 at once, but whose target leaves room for 50; at 16 its ramp was disturbed.
Load FlatLoad() {
  Load load = BusyLoad();
  load.server.a_ms = 2, load.server.b_ms = 1.1, load.server.prefill_ms_per_token = 0.1;
  load.target_ms = 75;
  load.clients = 160;
  return load;
}

CalibrationResult DisturbedCalibration(int verified, double disturbance) {
  CalibrationResult calibration;
  for (const int c : {1, 2, 4, 8, 16}) {
    const double gap_ms = (2 + 1.1 * c) * (c == 16 ? disturbance : 1);
    calibration.ramp.levels.push_back({.concurrency = c, .gap_ms = gap_ms, .tokens = 200});
  }
  calibration.ramp.prefill_ms = 12.8;
  calibration.ramp.prefill_ms_per_token = 0.1;
  const double mean_ms = 2 + 1.1 * verified + verified * 12.8 / 64;
  calibration.verifications.push_back(
      {.concurrency = verified, .mean_ms_per_token = mean_ms, .passed = true, .requests = 3 * verified});
  return calibration;
}

TEST(StepModelTest, AVerificationOutweighsALevelThatWasDisturbed) {
  for (const double disturbance : {0.7, 1.0, 1.6}) {
    const StepModel model = StepModelOf(DisturbedCalibration(40, disturbance), {128, 64});
    EXPECT_NEAR(model.StepMs(40), 46, 0.12 * 46) << disturbance;
    EXPECT_NEAR(model.StepMs(55), 62.5, 0.15 * 62.5) << disturbance;
    EXPECT_GT(model.TokensPerSecond(40, {128, 64}), model.TokensPerSecond(8, {128, 64})) << disturbance;
  }
}

// P(n)'s slope, noise of a few arrivals at few streams, says nothing of prompts at the limit.
TEST(StepModelTest, ASlopeOfThePrefillsDoesNotReachTheVerification) {
  for (const double slope_ms : {-0.5, 0.0, 1.0}) {
    CalibrationResult calibration = DisturbedCalibration(40, 1);
    calibration.ramp.prefill_slope_ms = slope_ms;
    const StepModel model = StepModelOf(calibration, {128, 64});
    EXPECT_NEAR(model.StepMs(40), 46, 0.05 * 46) << slope_ms;
    EXPECT_NEAR(model.LatencyMs(LatencyMetric::kTimePerOutputToken, 40, {128, 64}), 46 + 40 * 12.8 / 64, 3) << slope_ms;
  }
}

TEST(LimitTrackerTest, ALevelOfTheRampThatWasDisturbedCostsLittle) {
  const Load load = FlatLoad();
  const double best = BestFixedGoodput(load, 30, 60);
  for (const double disturbance : {0.7, 1.6}) {
    TrackConfig config = ConfigFor(load);
    config.model = StepModelOf(DisturbedCalibration(40, disturbance), config.payload);
    config.believed = config.start = 44;
    const Outcome outcome = Mean(load, [&] { return TrackedLimit(config); });
    EXPECT_LE(outcome.p90_ms, load.target_ms) << "limit " << outcome.limit;
    EXPECT_GE(outcome.goodput, 0.97 * best) << "limit " << outcome.limit;
    // A model that knows nothing of the verification, as an older sidecar's: no target asks for less than what was verified.
    config.model.points = {{1, 3.1}, {2, 4.2}, {4, 6.4}, {8, 10.8}, {16, 32}};
    EXPECT_GE(Mean(load, [&] { return TrackedLimit(config); }).goodput, 0.9 * best);
  }
}

TEST(LimitTrackerTest, AfterARestartTheLawAloneIsEnough) {
  const Load load = PoissonLoad(kTwoSizes);
  TrackConfig config = ConfigFor(load);
  config.model = StepModelOf(Law{.a_ms = 8, .b_ms = 2.1});
  config.start = 16;
  ExpectHeld(load, Mean(load, [&] { return TrackedLimit(config); }));
}

TEST(LimitTrackerTest, ConstantLimitsOfOneAndOf128FailTheSameCheck) {
  const Load load = PoissonLoad(kTwoSizes);
  const double best = BestFixedGoodput(load);
  for (const int k : {1, 128}) {
    const Outcome outcome = Mean(load, [k] { return FixedLimit(k); });
    EXPECT_LT(outcome.goodput, 0.5 * best) << k;
  }
}

// Streams under full load, each with this time per output token.
void Feed(LimitTracker& tracker, int streams, double ms, double& now_s) {
  for (int i = 0; i < streams; ++i) {
    const double admitted_s = now_s;
    now_s += 0.05;
    tracker.OnTokens(1, 0, tracker.limit(), tracker.limit());
    tracker.OnStream({.admitted_s = admitted_s, .time_per_output_token_ms = ms, .output_tokens = 64});
  }
}

TEST(LimitTrackerTest, StartsWhereTheCalibrationSaysThoughTheModelSaysOtherwise) {
  TrackConfig config = ConfigFor(BusyLoad());
  config.believed = config.start = 12;
  LimitTracker tracker(config);
  for (int tick = 1; tick <= 5; ++tick) {
    tracker.OnTokens(100, 100 * (8 + 1.6 * 12), 12, 12);
    EXPECT_EQ(tracker.OnTick(12, tick).limit, 0);
  }
}

TEST(LimitTrackerTest, TheGuardCutsAtOnceWhenTheQuantileIsMissed) {
  LimitTracker tracker(ConfigFor(BusyLoad()));
  for (const double t : {98, 99}) tracker.OnTick(20, t);  // a full limit
  double now_s = 100;
  Feed(tracker, 30, 70, now_s);
  const TrackMove move = tracker.OnTick(20, now_s);
  EXPECT_EQ(move.reason, "guard");
  EXPECT_EQ(move.limit, 15);
}

TEST(LimitTrackerTest, StreamsAdmittedBeforeTheLastMoveDoNotFeedTheGuard) {
  LimitTracker tracker(ConfigFor(BusyLoad()));
  for (const double t : {98, 99}) tracker.OnTick(20, t);  // a full limit
  double now_s = 100;
  Feed(tracker, 30, 70, now_s);
  ASSERT_EQ(tracker.OnTick(20, now_s).limit, 15);
  double before = 100;
  Feed(tracker, 20, 70, before);
  EXPECT_NE(tracker.OnTick(15, now_s).reason, "guard");
}

TEST(LimitTrackerTest, StreamsAdmittedBeforeTheLimitWasFullDoNotFeedTheGuard) {
  LimitTracker tracker(ConfigFor(BusyLoad()));
  tracker.OnTick(0, 99);
  double now_s = 100;
  Feed(tracker, 30, 200, now_s);
  EXPECT_EQ(tracker.OnTick(20, now_s).limit, 0);
}

TEST(LimitTrackerTest, RisesByAnEighthAtMostAtATime) {
  LimitTracker tracker(ConfigFor(BusyLoad()));
  for (int tick = 1; tick <= 40; ++tick) {
    const int before = tracker.limit();
    tracker.OnTokens(200, 200 * 0.5 * (8 + 1.6 * before), before, before);
    tracker.OnTick(before, tick);
    EXPECT_LE(tracker.limit(), std::max(before + 1, static_cast<int>(before * 1.12)));
  }
  EXPECT_GT(tracker.limit(), 30);
}

TEST(LimitTrackerTest, ThePromptBudgetFollowsTheLevel) {
  TrackConfig config = ConfigFor(BusyLoad());
  EXPECT_EQ(LimitTracker(config).Prompts().tokens, 0) << "there is no target for the time to first token";
  config.targets.push_back({LatencyMetric::kTimeToFirstToken, 0.9, 500});
  LimitTracker tracker(config);
  EXPECT_NEAR(tracker.Prompts().tokens, (450 - 40) / 0.25, 1);
  EXPECT_NEAR(tracker.Prompts().step_ms, 40, 0.1);
  EXPECT_NEAR(tracker.Prompts().ms_per_token, 0.25, 1e-9);
  for (int tick = 1; tick <= 40; ++tick) {  // twice as slow
    tracker.OnTokens(200, 200 * 2.0 * (8 + 1.6 * tracker.limit()), tracker.limit(), tracker.limit());
    tracker.OnTick(tracker.limit(), tick);
  }
  EXPECT_NEAR(tracker.level(), 2, 0.01);
  EXPECT_NEAR(tracker.Prompts().tokens, (450 - 2 * (8 + 1.6 * tracker.limit())) / 0.5, 2);
}

TEST(LimitTrackerTest, ACeilingCutsToItselfEvenWhereTheModelWouldGoLower) {
  TrackConfig config = ConfigFor(BusyLoad());
  config.model.points = {{1, 4.0}, {16, 63.9}};  // no request more gains anything: one at a time would be best
  LimitTracker tracker(config);
  EXPECT_EQ(tracker.Retarget(config.targets, 3, {}, 100).limit, 3);
  EXPECT_EQ(tracker.Retarget(config.targets, 8, {}, 101).limit, 0) << "a higher ceiling alone raises nothing";
  EXPECT_EQ(tracker.limit(), 3);
}

TEST(LimitTrackerTest, IdleTrafficMovesNothing) {
  LimitTracker tracker(ConfigFor(BusyLoad()));
  for (int tick = 1; tick <= 40; ++tick) {
    tracker.OnTokens(100, 100 * 12.0, 2, 2);
    tracker.OnStream({.admitted_s = tick - 1.0, .time_per_output_token_ms = 12, .output_tokens = 64});
    EXPECT_EQ(tracker.OnTick(2, tick).limit, 0);
  }
  EXPECT_EQ(tracker.level(), 1);
}

}  // namespace
}  // namespace patella::science
