#include "sidecar/cluster/publish.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/api/print.h"

namespace patella::sidecar {
namespace {

using testing::HasSubstr;

class PublisherTest : public testing::Test {
 protected:
  PublisherTest() {
    object_.metadata.name = "m";
    object_.metadata.namespace_name = "n";
    object_.metadata.generation = 4;
    object_.spec.objectives.latency = {{.quantile = "0.90", .target_ms = 50}};
    object_.spec.scaling.max_replicas = 8;
    object_.status.revisions = {{.hash = "aa", .role = api::RevisionRole::kServing}};
  }
  static PeerReport Replica(const std::string& pod, int limit, const std::string& revision = "aa") {
    return {.pod = pod,
            .revision = revision,
            .ready = true,
            .limit = limit,
            .bound_by = "TimePerOutputToken",
            .confidence = "High",
            .calibrated_at_s = 1'800'000'000};
  }
  Publication Publish(const std::vector<PeerReport>& reports, const TunerStory& story = {}) {
    return publisher_.Publish(object_, reports, story, now_s_, 1'800'000'000 + static_cast<int64_t>(now_s_));
  }
  const api::Condition& Condition(const Publication& p, const std::string& type) {
    for (const api::Condition& c : p.status->conditions) {
      if (c.type == type) return c;
    }
    throw std::runtime_error("no condition " + type);
  }
  api::InferenceDeployment object_;
  Publisher publisher_;
  double now_s_ = 100;
};

TEST_F(PublisherTest, TheRevisionsLimitIsTheMedianOfItsReplicas) {
  const Publication p =
      Publish({Replica("a", 22), Replica("b", 9), Replica("c", 20), Replica("t", 30, "bb"), Replica("new", 0)});
  ASSERT_TRUE(p.status.has_value());
  ASSERT_EQ(p.status->revisions.size(), 2u);
  EXPECT_EQ(p.status->revisions[0].hash, "aa");
  EXPECT_EQ(p.status->revisions[0].limit, 20);
  EXPECT_EQ(p.status->revisions[0].bound_by, "TimePerOutputToken");
  EXPECT_EQ(p.status->revisions[0].calibrated_at, "2027-01-15T08:00:00Z");
  EXPECT_EQ(p.status->revisions[1].limit, 30);
  EXPECT_EQ(p.status->live.in_flight, 0);
  EXPECT_EQ(Condition(p, "Tuned").status, api::ConditionStatus::kTrue);
  EXPECT_EQ(Condition(p, "Tuned").observed_generation, 4);
}

TEST_F(PublisherTest, FiguresWaitForThePeriodAChangedLimitDoesNot) {
  EXPECT_TRUE(Publish({Replica("a", 8)}).status.has_value());
  now_s_ += 2;
  EXPECT_FALSE(Publish({Replica("a", 8)}).status.has_value());
  now_s_ += 2;
  EXPECT_TRUE(Publish({Replica("a", 9)}).status.has_value());
  now_s_ += Publisher::kPeriod_s + 1;
  EXPECT_TRUE(Publish({Replica("a", 9)}).status.has_value());
}

TEST_F(PublisherTest, AFailedWriteIsMadeAgain) {
  EXPECT_TRUE(Publish({Replica("a", 8)}).status.has_value());
  publisher_.Failed();
  now_s_ += 2;
  EXPECT_TRUE(Publish({Replica("a", 8)}).status.has_value());
}

TEST_F(PublisherTest, LoadRaisesReplicasInModeAutoAlone) {
  const auto overloaded = [&](api::ScalingMode mode, api::TuningMode tuning) {
    object_.spec.scaling.mode = mode;
    object_.spec.tuning.mode = tuning;
    publisher_ = Publisher();
    std::optional<int> replicas;
    PeerReport r = Replica("a", 8);
    for (int i = 0; i < 20 && !replicas; ++i) {
      r.in_flight = 8, r.admitted_total += 4, r.rejected_total += 8;
      now_s_ += 2;
      replicas = Publish({r}).replicas;
    }
    return replicas;
  };
  EXPECT_EQ(overloaded(api::ScalingMode::kAuto, api::TuningMode::kAuto), 2);
  EXPECT_EQ(overloaded(api::ScalingMode::kExternal, api::TuningMode::kAuto), std::nullopt);
  EXPECT_EQ(overloaded(api::ScalingMode::kAuto, api::TuningMode::kAdvise), std::nullopt);
  object_.spec.paused = true;
  EXPECT_EQ(overloaded(api::ScalingMode::kAuto, api::TuningMode::kAuto), std::nullopt);
}

TEST_F(PublisherTest, ARoundThatNewsWokeRightAfterAnotherDoesNotMultiplyTheRates) {
  PeerReport r = Replica("a", 8);
  Publish({r});
  now_s_ += 20;
  r.admitted_total += 100, r.rejected_total += 20;
  Publish({r});
  now_s_ += 0.02;
  r.admitted_total += 5, r.rejected_total += 1, r.limit = 9;
  const auto status = Publish({r}).status;
  ASSERT_TRUE(status.has_value()) << "another limit is told at once";
  EXPECT_EQ(api::ToDouble(status->live.rejected_per_second), 1);
}

TEST_F(PublisherTest, LiveFiguresAreOfAllReplicasTogether) {
  api::RevisionStatus& serving = object_.status.revisions[0];
  serving.accelerator_class = "a10g", serving.replicas = 2, serving.replica_cost_per_hour = "1.25";
  object_.spec.replicas = 2;
  PeerReport a = Replica("a", 8), b = Replica("b", 6), trial = Replica("t", 3, "bb");
  Publish({a, b, trial});
  now_s_ += 20;
  a.tokens_per_second = 300, a.ms_per_token = 40, a.in_flight = 8, a.admitted_total = 60, a.rejected_total = 20;
  b.tokens_per_second = 90, b.ms_per_token = 20, b.in_flight = 2, b.admitted_total = 30;
  trial.tokens_per_second = 10, trial.ms_per_token = 100, trial.in_flight = 1, trial.admitted_total = 10;
  const auto status = Publish({a, b, trial}).status;
  ASSERT_TRUE(status.has_value());
  const api::LiveStatus& live = status->live;
  EXPECT_EQ(api::ToDouble(live.tokens_per_second), 400);
  EXPECT_EQ(api::ToDouble(live.ms_per_token), 37) << "weighted by tokens: (300·40 + 90·20 + 10·100) / 400";
  EXPECT_EQ(live.in_flight, 11);
  EXPECT_EQ(api::ToDouble(live.offered_per_second), 6) << "100 admitted and 20 rejected in 20 s";
  EXPECT_EQ(api::ToDouble(live.rejected_per_second), 1);
  EXPECT_GE(live.desired_replicas.value_or(0), 2);
  EXPECT_EQ(live.cost_per_hour, "2.50");
  EXPECT_EQ(live.cost_per_million_tokens, "1.74") << "2.50 / (3600 · 400) · 10⁶";
  EXPECT_EQ(live.observed_at, "2027-01-15T08:02:00Z");
}

TEST_F(PublisherTest, WhatIsNotKnownOfTheTrafficIsLeftOut) {
  const auto status = Publish({Replica("a", 0)}).status;
  ASSERT_TRUE(status.has_value());
  const api::LiveStatus& live = status->live;
  EXPECT_EQ(api::ToDouble(live.tokens_per_second), 0);
  EXPECT_EQ(live.ms_per_token, "") << "no token, no time of one";
  EXPECT_EQ(live.desired_replicas, std::nullopt) << "no limit to reckon with";
  EXPECT_EQ(live.cost_per_hour, "") << "no price is known";
  EXPECT_EQ(live.cost_per_million_tokens, "");
}

TEST_F(PublisherTest, AReplicaThatBeganAnewCountsFromThen) {
  PeerReport a = Replica("a", 8), b = Replica("b", 8);
  a.admitted_total = 1000;
  Publish({a, b});
  now_s_ += 20;
  a.admitted_total = 5;  // restarted: what it has served since the last sample is not known
  b.admitted_total = 40;
  EXPECT_EQ(api::ToDouble(Publish({a, b}).status->live.offered_per_second), 2);
}

TEST_F(PublisherTest, AScaleDecisionIsAmongTheLastTenNewestFirst) {
  TunerStory story;
  for (int i = 0; i < 10; ++i)
    story.decisions.push_back(
        {.time_s = 1'800'000'000.0 + i, .what = "limit", .from = 8.0, .to = 9.0, .reason = "track", .evidence = "e"});
  PeerReport r = Replica("a", 8);
  std::optional<api::InferenceDeploymentStatus> status;
  for (int i = 0; i < 20; ++i) {
    r.in_flight = 8, r.admitted_total += 4, r.rejected_total += 8;
    now_s_ += 2;
    const Publication p = Publish({r}, story);
    if (p.status) status = p.status;
    if (p.replicas) break;
  }
  EXPECT_EQ(status->decisions[0].what, "limit") << "what is not yet written is no decision";
  publisher_.Scaled(true);
  now_s_ += 2;
  status = Publish({r}, story).status;
  ASSERT_TRUE(status.has_value());
  ASSERT_EQ(status->decisions.size(), 10u);
  EXPECT_EQ(status->decisions[0].what, "replicas");
  EXPECT_EQ(status->decisions[0].to, "2");
  EXPECT_THAT(status->decisions[0].evidence, HasSubstr("turned away"));
  EXPECT_EQ(status->decisions[1].time, "2027-01-15T08:00:09Z");
}

TEST_F(PublisherTest, WhatWasDecidedBeforeTheElectionStays) {
  object_.status.decisions = {
      {.time = "2027-01-15T07:00:00Z", .what = "limit", .from = "0", .to = "7", .reason = "verified", .evidence = "e"}};
  const TunerStory story{
      .decisions = {
          {.time_s = 1'800'000'000.0, .what = "limit", .from = 7.0, .to = 8.0, .reason = "track", .evidence = "e"}}};
  const Publication p = Publish({Replica("a", 8)}, story);
  ASSERT_EQ(p.status->decisions.size(), 2u);
  EXPECT_EQ(p.status->decisions[0].to, "8");
  EXPECT_EQ(p.status->decisions[1].to, "7");
  object_.status.decisions = p.status->decisions;
  publisher_.Failed();
  EXPECT_EQ(Publish({Replica("a", 8)}, story).status->decisions.size(), 2u) << "none twice";
}

TEST_F(PublisherTest, ConditionsTellWhetherTargetsHold) {
  PeerReport r = Replica("a", 8);
  EXPECT_EQ(Condition(Publish({r}), "ObjectivesMet").reason, "HeldInCalibration");
  r.worst_target_ratio = 0.9;
  EXPECT_EQ(Condition(Publish({r}), "ObjectivesMet").reason, "Held");
  r.worst_target_ratio = 1.3;
  const Publication missed = Publish({r});
  EXPECT_EQ(Condition(missed, "ObjectivesMet").status, api::ConditionStatus::kFalse);
  EXPECT_THAT(Condition(missed, "ObjectivesMet").message, HasSubstr("130 %"));
  const Publication impossible =
      Publish({Replica("a", 0)}, {.problem = "50 ms is below the 80 ms of a lone request", .impossible_target = true});
  EXPECT_EQ(Condition(impossible, "ObjectivesMet").reason, "TargetBelowUnloadedLatency");
  EXPECT_EQ(Condition(impossible, "Tuned").status, api::ConditionStatus::kFalse);
}

// L(c) = 20 + 2·c ms, X(c) = 1000·c/(20 + 2·c) tokens/s: 50 ms and 300 tokens/s at c = 15.
PeerReport Measured(PeerReport r, int limit = 15) {
  r.limit = r.learned.limit = limit;
  r.learned.bound_by = "TimePerOutputToken";
  r.learned.step_model.points = {{1, 22}, {2, 24}};
  r.learned.spreads = {{science::LatencyMetric::kTimePerOutputToken, 0.9, 1}};
  return r;
}

TEST_F(PublisherTest, ATargetBelowTheUnloadedLatencyNamesTheNearestAndIsClearedWhenItIsMet) {
  object_.spec.objectives.latency[0].target_ms = 10;
  const Publication p = Publish({Measured(Replica("a", 0), 0)});
  ASSERT_TRUE(p.status.has_value());
  ASSERT_EQ(p.status->nearest_feasible.size(), 1u);
  EXPECT_EQ(p.status->nearest_feasible[0].objective, "TimePerOutputToken p90 ≤ 10 ms");
  EXPECT_EQ(p.status->nearest_feasible[0].nearest, "22 ms");
  EXPECT_EQ(p.status->nearest_feasible[0].replicas, 1);
  EXPECT_EQ(Condition(p, "ObjectivesMet").reason, "TargetBelowUnloadedLatency");
  EXPECT_THAT(Condition(p, "ObjectivesMet").message,
              HasSubstr("one request alone needs 22 ms; the nearest that can be met: "
                        "22 ms"));
  EXPECT_THAT(api::PrintStatusApply(object_.metadata, *p.status), HasSubstr("nearestFeasible"));

  now_s_ += 2;
  object_.metadata.generation++;
  object_.spec.objectives.latency[0].target_ms = 22;
  const Publication met = Publish({Measured(Replica("a", 1), 1)});
  ASSERT_TRUE(met.status.has_value()) << "what the user changes is judged at once";
  EXPECT_TRUE(met.status->nearest_feasible.empty());
  EXPECT_EQ(Condition(met, "ObjectivesMet").status, api::ConditionStatus::kTrue);
  EXPECT_THAT(api::PrintStatusApply(object_.metadata, *met.status), testing::Not(HasSubstr("nearestFeasible")));
}

TEST_F(PublisherTest, LatencyAndThroughputThatConflictAreToldWithEachWayOut) {
  object_.spec.objectives.throughput.min_tokens_per_second = 1000;
  object_.spec.scaling.max_replicas = 3;
  const Publication p = Publish({Measured(Replica("a", 15)), Replica("new", 0)});
  std::vector<std::string> told;
  for (const api::Relaxation& r : p.status->nearest_feasible) told.push_back(r.objective + " -> " + r.nearest);
  EXPECT_THAT(told, testing::ElementsAre("TimePerOutputToken p90 ≤ 50 ms -> 60 ms", "minTokensPerSecond 1000 -> 900",
                                         "maxReplicas 3 -> 4"));
  EXPECT_EQ(Condition(p, "ObjectivesMet").reason, "ThroughputOutOfReach");
  EXPECT_THAT(Condition(p, "ObjectivesMet").message, HasSubstr("reach 900 with 15 requests at once each"));
}

TEST_F(PublisherTest, CostsAreJudgedByThePriceOfTheServingRevision) {
  object_.spec.objectives.throughput.min_tokens_per_second = 1000;
  object_.spec.objectives.cost.max_per_hour = "3.00";
  const PeerReport r = Measured(Replica("a", 15));
  EXPECT_TRUE(Publish({r}).status->nearest_feasible.empty()) << "no price is known";
  api::RevisionStatus& serving = object_.status.revisions[0];
  serving.accelerator_class = "a10g", serving.tensor_parallel_size = 2, serving.replicas = 2;
  serving.replica_cost_per_hour = "1.00";
  publisher_.Failed();
  const Publication p = Publish({r});
  ASSERT_EQ(p.status->nearest_feasible.size(), 3u);
  EXPECT_EQ(p.status->nearest_feasible[2].objective, "maxPerHour $3.00");
  EXPECT_EQ(p.status->nearest_feasible[2].nearest, "$4.00");
  EXPECT_EQ(p.status->nearest_feasible[2].accelerator_class, "a10g");
  EXPECT_EQ(p.status->nearest_feasible[2].tensor_parallel_size, 2);
  EXPECT_EQ(Condition(p, "ObjectivesMet").reason, "CostOutOfReach");
  EXPECT_EQ(p.status->live.cost_per_hour, "2.00");
}

TEST_F(PublisherTest, OnlyTheServingRevisionIsJudgedByItsMedianReplica) {
  object_.spec.objectives.throughput.min_tokens_per_second = 1000;
  object_.spec.scaling.max_replicas = 4;
  PeerReport slow = Measured(Replica("t", 2, "bb"), 2), slower = Measured(Replica("b", 7), 7);
  slow.learned.level = 10;
  slower.learned.level = 1.5;
  const Publication p = Publish({slow, Measured(Replica("a", 15)), slower, Measured(Replica("c", 15))});
  EXPECT_TRUE(p.status->nearest_feasible.empty());
  object_.status.revisions[0].hash = "bb";
  publisher_.Failed();
  EXPECT_EQ(Condition(Publish({slow, Measured(Replica("a", 15))}), "ObjectivesMet").reason,
            "TargetBelowUnloadedLatency");
}

TEST_F(PublisherTest, WhatIsWithinReachStaysSoUntilItIsMissedByMoreThanNoise) {
  object_.spec.objectives.throughput.min_tokens_per_second = 920;  // 900 are to be had
  object_.spec.scaling.max_replicas = 3;
  const PeerReport r = Measured(Replica("a", 15));
  EXPECT_EQ(Condition(Publish({r}), "ObjectivesMet").status, api::ConditionStatus::kTrue);
  object_.status.conditions = {{.type = "ObjectivesMet",
                                .status = api::ConditionStatus::kFalse,
                                .last_transition_time = "2020-01-01T00:00:00Z",
                                .reason = "ThroughputOutOfReach",
                                .message = "y"}};
  publisher_.Failed();
  EXPECT_EQ(Condition(Publish({r}), "ObjectivesMet").status, api::ConditionStatus::kFalse);
}

TEST_F(PublisherTest, WithTuningOffTargetsAreNotJudgedByACurve) {
  object_.spec.objectives.latency[0].target_ms = 10;
  object_.spec.tuning.mode = api::TuningMode::kOff;
  EXPECT_TRUE(Publish({Measured(Replica("a", 15))}).status->nearest_feasible.empty());
}

TEST_F(PublisherTest, AThroughputAloneIsJudgedToo) {
  object_.spec.objectives.latency.clear();
  object_.spec.objectives.throughput.min_tokens_per_second = 100;
  EXPECT_EQ(Condition(Publish({Replica("a", 0)}), "ObjectivesMet").reason, "NotMeasured");
  EXPECT_EQ(Condition(Publish({Measured(Replica("a", 15))}), "ObjectivesMet").reason, "WithinReach");
}

TEST_F(PublisherTest, ATransitionTimeStaysWhileTheStatusDoes) {
  object_.status.conditions = {{.type = "Tuned",
                                .status = api::ConditionStatus::kTrue,
                                .last_transition_time = "2020-01-01T00:00:00Z",
                                .reason = "x",
                                .message = "y"}};
  EXPECT_EQ(Condition(Publish({Replica("a", 8)}), "Tuned").last_transition_time, "2020-01-01T00:00:00Z");
}

}  // namespace
}  // namespace patella::sidecar
