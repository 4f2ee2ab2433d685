// Against figures worked by hand: a replica with L(c) = 20 + 2·c ms and X(c) = 1000·c/(20 + 2·c) tokens/s, so that 50 ms are reached
// at c = 15, with 300 tokens/s.
#include "lib/science/feasible.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace patella::science {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Money kDollar{1'000'000};

ReplicaFigures Replica() {
  return {.model = {.points = {{1, 22}, {2, 24}}},
          .payload = {100, 50},
          .spreads = {{LatencyMetric::kTimePerOutputToken, 0.9, 1}}};
}

ObjectiveSet Wanted(double target_ms, double tokens_per_second = 0) {
  ObjectiveSet o{.min_tokens_per_second = tokens_per_second, .max_replicas = 8};
  o.targets = {{LatencyMetric::kTimePerOutputToken, 0.9, target_ms}};
  return o;
}

// "objective -> nearest (replicas)"
std::vector<std::string> Told(const Feasibility& f) {
  std::vector<std::string> out;
  for (const Relaxation& r : f.relaxations)
    out.push_back(r.objective + " -> " + r.nearest + " (" + std::to_string(r.replicas) + ")");
  return out;
}

TEST(FeasibleTest, ATargetThatIsReachedAtFifteenRequestsIsMet) {
  const Feasibility f = JudgeObjectives(Replica(), Wanted(50, 1000));
  EXPECT_EQ(f.shortfall, Shortfall::kNone);
  EXPECT_EQ(f.message, "");
  EXPECT_THAT(f.relaxations, IsEmpty());
  EXPECT_EQ(f.limit, 15);
  EXPECT_DOUBLE_EQ(f.tokens_per_second, 300);
  EXPECT_EQ(f.replicas, 4);
}

TEST(FeasibleTest, BelowTheUnloadedLatencyTheNearestIsThatOfALimitOfOneRoundedUp) {
  ReplicaFigures replica = Replica();
  EXPECT_THAT(Told(JudgeObjectives(replica, Wanted(10))), ElementsAre("TimePerOutputToken p90 ≤ 10 ms -> 22 ms (1)"));
  replica.spreads[0].ratio = 1.25;  // 27.5 ms at the quantile
  const Feasibility f = JudgeObjectives(replica, Wanted(10));
  EXPECT_THAT(Told(f), ElementsAre("TimePerOutputToken p90 ≤ 10 ms -> 28 ms (1)"));
  EXPECT_EQ(f.shortfall, Shortfall::kLatency);
  EXPECT_EQ(f.limit, 0);
  EXPECT_THAT(f.message, HasSubstr("TimePerOutputToken p90 ≤ 10 ms cannot be met: one request alone needs 27.5 ms; the "
                                   "nearest that can be met: 28 ms"));
  EXPECT_EQ(JudgeObjectives(replica, Wanted(28)).shortfall, Shortfall::kNone) << "what is named can be met";
}

TEST(FeasibleTest, AnEngineThatHasBecomeSlowerIsJudgedAsItIsNow) {
  ReplicaFigures replica = Replica();
  replica.level = 2;  // L(c) = 40 + 4·c
  EXPECT_THAT(Told(JudgeObjectives(replica, Wanted(40))), ElementsAre("TimePerOutputToken p90 ≤ 40 ms -> 44 ms (1)"));
}

// 1000 tokens/s take 4 replicas at 300; with 3 replicas each must give 333.3, which is X(20), and L(20) = 60 ms.
TEST(FeasibleTest, LatencyAndThroughputThatConflictNameTheLatencyTheThroughputOrTheReplicas) {
  ObjectiveSet o = Wanted(50, 1000);
  o.max_replicas = 3;
  const Feasibility f = JudgeObjectives(Replica(), o);
  EXPECT_EQ(f.shortfall, Shortfall::kThroughput);
  EXPECT_THAT(Told(f), ElementsAre("TimePerOutputToken p90 ≤ 50 ms -> 60 ms (3)", "minTokensPerSecond 1000 -> 900 (3)",
                                   "maxReplicas 3 -> 4 (4)"));
  EXPECT_THAT(
      f.message,
      HasSubstr("minTokensPerSecond 1000 cannot be met: 3 replicas, the most there may be, reach 900 with 15 "
                "requests at once each, as TimePerOutputToken p90 ≤ 50 ms allows; any one of these would do: 60 ms "
                "instead of TimePerOutputToken p90 ≤ 50 ms, 900 instead of minTokensPerSecond 1000, 4 instead of "
                "maxReplicas 3"));
  o.targets[0].target_ms = 60;
  EXPECT_EQ(JudgeObjectives(Replica(), o).shortfall, Shortfall::kNone);
}

TEST(FeasibleTest, AThroughputThatNoConcurrencyGivesIsNotPromisedByALatency) {
  ObjectiveSet o = Wanted(50, 1000);  // two replicas would have to give 500 each, which X(c) only approaches
  o.max_replicas = 2;
  EXPECT_THAT(Told(JudgeObjectives(Replica(), o)),
              ElementsAre("minTokensPerSecond 1000 -> 600 (2)", "maxReplicas 2 -> 4 (4)"));
}

TEST(FeasibleTest, AcceleratorsBoundReplicasAsWell) {
  ObjectiveSet o = Wanted(50, 1000);
  o.max_accelerators = 7, o.accelerators_per_replica = 2;  // three replicas
  EXPECT_THAT(Told(JudgeObjectives(Replica(), o)),
              ElementsAre("TimePerOutputToken p90 ≤ 50 ms -> 60 ms (3)", "minTokensPerSecond 1000 -> 900 (3)",
                          "maxAccelerators 7 -> 8 (4)"));
  o.max_replicas = 3;  // both bind: neither alone would do
  EXPECT_THAT(Told(JudgeObjectives(Replica(), o)),
              ElementsAre("TimePerOutputToken p90 ≤ 50 ms -> 60 ms (3)", "minTokensPerSecond 1000 -> 900 (3)"));
}

// A dollar a replica and hour: four replicas cost four, and three dollars buy three.
TEST(FeasibleTest, ACostPerHourThatBuysTooFewReplicas) {
  ObjectiveSet o = Wanted(50, 1000);
  o.replica_per_hour = kDollar;
  o.max_per_hour = Money{3'000'000};
  const Feasibility f = JudgeObjectives(Replica(), o);
  EXPECT_EQ(f.shortfall, Shortfall::kCost);
  EXPECT_THAT(Told(f), ElementsAre("TimePerOutputToken p90 ≤ 50 ms -> 60 ms (3)", "minTokensPerSecond 1000 -> 900 (3)",
                                   "maxPerHour $3.00 -> $4.00 (4)"));
  EXPECT_THAT(f.message, HasSubstr("maxPerHour $3.00 cannot be met: minTokensPerSecond 1000 takes 4 replicas with 15 "
                                   "requests at once each"));
  o.min_tokens_per_second = 0, o.min_replicas = 5;
  EXPECT_THAT(Told(JudgeObjectives(Replica(), o)), ElementsAre("maxPerHour $3.00 -> $5.00 (5)"));
  o.replica_per_hour.reset();
  EXPECT_EQ(JudgeObjectives(Replica(), o).shortfall, Shortfall::kNone) << "without a price nothing is said of costs";
}

// $1/(3600·300) a token are $0.925926 a million; $0.90 take 308.6 tokens/s, which X(17) = 314.8 gives, at L(17) = 54 ms.
TEST(FeasibleTest, ACostPerMillionTokensThatTheLatencyDoesNotAllow) {
  ObjectiveSet o = Wanted(50);
  o.replica_per_hour = kDollar;
  o.max_per_million = Money{900'000};
  const Feasibility f = JudgeObjectives(Replica(), o);
  EXPECT_EQ(f.shortfall, Shortfall::kCost);
  EXPECT_THAT(Told(f),
              ElementsAre("TimePerOutputToken p90 ≤ 50 ms -> 54 ms (1)", "maxPerMillionTokens $0.90 -> $0.93 (1)"));
  o.max_per_million = Money{930'000};
  EXPECT_EQ(JudgeObjectives(Replica(), o).shortfall, Shortfall::kNone);
}

// At a ceiling of 10 a replica gives 250; four of them 1000. 1100 take 275 each: X(13) = 282.6, at 46 ms.
TEST(FeasibleTest, TheUsersCeilingMayBeWhatBinds) {
  ObjectiveSet o = Wanted(50, 1100);
  o.ceiling = 10, o.max_replicas = 4;
  const Feasibility f = JudgeObjectives(Replica(), o);
  EXPECT_THAT(Told(f), ElementsAre("minTokensPerSecond 1100 -> 1000 (4)", "maxReplicas 4 -> 5 (5)",
                                   "maxConcurrentRequests 10 -> 13 (4)"));
  EXPECT_THAT(f.message, HasSubstr("10 requests at once each, as maxConcurrentRequests 10 allows"));
}

TEST(FeasibleTest, WhatTheKvCacheHoldsCannotBeMoved) {
  ReplicaFigures replica = Replica();
  replica.most = 10;
  ObjectiveSet o = Wanted(50, 1100);
  o.max_replicas = 4;
  const Feasibility f = JudgeObjectives(replica, o);
  EXPECT_THAT(Told(f), ElementsAre("minTokensPerSecond 1100 -> 1000 (4)", "maxReplicas 4 -> 5 (5)"));
  EXPECT_THAT(f.message, HasSubstr("as engine and KV cache bear"));
}

TEST(FeasibleTest, TwoTargetsBelowWhatOneRequestNeedsHaveNoSingleRelaxation) {
  ObjectiveSet o = Wanted(10);
  o.targets.push_back({LatencyMetric::kEndToEnd, 0.9, 100});
  const Feasibility f = JudgeObjectives(Replica(), o);
  EXPECT_THAT(f.relaxations, IsEmpty());
  EXPECT_THAT(f.message, HasSubstr("no single objective moved alone would do"));
}

// A prompt costs 0.5·100 = 50 ms: the first token comes after 22 + 50 = 72 ms alone, and half as much again at the quantile.
TEST(FeasibleTest, TheFirstTokenAndTheWholeRequestAreTargetsToo) {
  ReplicaFigures replica = Replica();
  replica.model.prompt_ms_per_token = 0.5;
  replica.spreads.push_back({LatencyMetric::kTimeToFirstToken, 0.95, 1.5});
  ObjectiveSet o{.max_replicas = 8};
  o.targets = {{LatencyMetric::kTimeToFirstToken, 0.95, 60}};
  EXPECT_THAT(Told(JudgeObjectives(replica, o)), ElementsAre("TimeToFirstToken p95 ≤ 60 ms -> 108 ms (1)"));
  o.targets = {{LatencyMetric::kEndToEnd, 0.9, 1000}};
  replica.spreads.push_back({LatencyMetric::kEndToEnd, 0.9, 1});
  EXPECT_THAT(Told(JudgeObjectives(replica, o)), ElementsAre("EndToEnd p90 ≤ 1000 ms -> 1150 ms (1)"));  // 72 + 49·22
}

TEST(FeasibleTest, WithoutATargetTheKneeBoundsAReplica) {
  ReplicaFigures replica = Replica();
  replica.knee = 10;  // 250 tokens/s
  ObjectiveSet o{.min_tokens_per_second = 1000, .max_replicas = 3};
  const Feasibility f = JudgeObjectives(replica, o);
  EXPECT_THAT(Told(f), ElementsAre("minTokensPerSecond 1000 -> 750 (3)", "maxReplicas 3 -> 4 (4)"));
  EXPECT_THAT(f.message, HasSubstr("as the knee says"));
}

TEST(FeasibleTest, SlackKeepsAJudgementFromFlickering) {
  ObjectiveSet o = Wanted(50, 940);  // 900 are to be had
  o.max_replicas = 3;
  EXPECT_EQ(JudgeObjectives(Replica(), o, 0.05).shortfall, Shortfall::kNone);
  EXPECT_EQ(JudgeObjectives(Replica(), o).shortfall, Shortfall::kThroughput);
  EXPECT_EQ(JudgeObjectives(Replica(), Wanted(21.5), 0.05).shortfall, Shortfall::kNone);
  EXPECT_EQ(JudgeObjectives(Replica(), Wanted(20.5), 0.05).shortfall, Shortfall::kLatency);
}

TEST(FeasibleTest, NothingIsSaidOfWhatWasNotMeasured) {
  EXPECT_EQ(JudgeObjectives({}, Wanted(1)).shortfall, Shortfall::kNone);
}

}  // namespace
}  // namespace patella::science
