#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sidecar/app/metrics.h"

namespace patella::sidecar {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using enum science::LatencyMetric;

constexpr char kLabels[] = R"(deployment="chat",model_name="llama",revision="0a1b2c3d")";

std::string Series(const std::string& name, const std::string& label, const std::string& value) {
  return name + "{" + kLabels + "," + label + "} " + value + "\n";
}

TEST(SidecarMetricsTest, TargetsAreExportedSoThatADashboardCanDrawThemBesideTheLatencies) {
  SidecarMetrics metrics("llama", "chat", "0a1b2c3d");
  TunerView tuner;
  tuner.targets = {{kTimePerOutputToken, 0.9, 50}, {kEndToEnd, 0.99, 15000}};
  const std::string text = metrics.Text(tuner, {});
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_target_seconds", R"(slo="TimePerOutputToken p90")", "0.05")));
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_target_ratio", R"(slo="TimePerOutputToken p90")", "0.9")));
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_target_seconds", R"(slo="EndToEnd p99")", "15")));
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_target_ratio", R"(slo="EndToEnd p99")", "0.99")));
}

TEST(SidecarMetricsTest, TwoQuantilesOfOneMetricAreTwoTargets) {
  SidecarMetrics metrics("llama", "chat", "0a1b2c3d");
  TunerView tuner;
  tuner.targets = {{kEndToEnd, 0.5, 100}, {kEndToEnd, 0.99, 500}};
  metrics.OnFinished({.ok = true, .end_to_end_ms = 200}, tuner.targets);  // too slow for the half, not for nearly all
  const std::string text = metrics.Text(tuner, {});
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_attainment_ratio", R"(slo="EndToEnd p50")", "0.98")));
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_attainment_ratio", R"(slo="EndToEnd p99")", "1")));
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_target_ratio", R"(slo="EndToEnd p50")", "0.5")));
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_target_ratio", R"(slo="EndToEnd p99")", "0.99")));
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_target_seconds", R"(slo="EndToEnd p50")", "0.1")));
}

TEST(SidecarMetricsTest, ATargetThatIsGoneLeavesNoFigureBehindThatAnAlertWouldStandOn) {
  SidecarMetrics metrics("llama", "chat", "0a1b2c3d");
  TunerView tuner;
  tuner.targets = {{kEndToEnd, 0.9, 100}, {kTimeToFirstToken, 0.9, 50}};
  const StreamRecord slow = {.ok = true, .streamed = true, .time_to_first_token_ms = 200, .end_to_end_ms = 200};
  metrics.OnFinished(slow, tuner.targets);
  EXPECT_THAT(metrics.Text(tuner, {}), HasSubstr(R"(slo="EndToEnd p90")"));
  tuner.targets.erase(tuner.targets.begin());
  const std::string text = metrics.Text(tuner, {});
  EXPECT_THAT(text, Not(HasSubstr(R"(slo="EndToEnd)")));
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_attainment_ratio", R"(slo="TimeToFirstToken p90")", "0.98")));
  tuner.targets.clear();
  EXPECT_THAT(metrics.Text(tuner, {}), Not(HasSubstr("slo=")));
}

TEST(SidecarMetricsTest, AChangedTargetIsJudgedAnew) {
  SidecarMetrics metrics("llama", "chat", "0a1b2c3d");
  TunerView tuner;
  tuner.targets = {{kEndToEnd, 0.9, 100}};
  for (int i = 0; i < 50; ++i) metrics.OnFinished({.ok = true, .end_to_end_ms = 200}, tuner.targets);
  tuner.targets[0].target_ms = 300;
  EXPECT_THAT(metrics.Text(tuner, {}), Not(HasSubstr("patella_slo_attainment_ratio{")))
      << "nothing was asked of it yet";
  metrics.OnFinished({.ok = true, .end_to_end_ms = 200}, tuner.targets);
  const std::string text = metrics.Text(tuner, {});
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_attainment_ratio", R"(slo="EndToEnd p90")", "1")));
  EXPECT_THAT(text, HasSubstr(Series("patella_slo_target_seconds", R"(slo="EndToEnd p90")", "0.3")));
}

TEST(SidecarMetricsTest, RefusalsAndLiveDecisionsBeginAtZeroSoThatTheFirstIsSeenAsAnIncrease) {
  SidecarMetrics metrics("llama", "chat", "0a1b2c3d");
  const std::string text = metrics.Text({}, {});
  for (const char* reason : {"limit", "queue_timeout", "not_ready", "draining"}) {
    EXPECT_THAT(text, HasSubstr(Series("patella_admission_total",
                                       std::string(R"(outcome="rejected",reason=")") + reason + "\"", "0")));
  }
  for (const char* reason : {"track", "guard"}) {
    EXPECT_THAT(text, HasSubstr(Series("patella_decisions_total", std::string("reason=\"") + reason + "\"", "0")));
  }
}

TEST(SidecarMetricsTest, AKneeWhoseDefinitionNoLongerAppliesIsGone) {
  SidecarMetrics metrics("llama", "chat", "0a1b2c3d");
  TunerView tuner;
  tuner.knees = {{.definition = "LatencyTarget", .concurrency = 17}, {.definition = "Timeout", .concurrency = 375}};
  const std::string before = metrics.Text(tuner, {});
  EXPECT_THAT(before, HasSubstr(Series("patella_knee_concurrency", R"(definition="LatencyTarget")", "17")));
  EXPECT_THAT(before, HasSubstr(Series("patella_knee_concurrency", R"(definition="Timeout")", "375")));
  tuner.knees.erase(tuner.knees.begin());
  const std::string after = metrics.Text(tuner, {});
  EXPECT_THAT(after, Not(HasSubstr("LatencyTarget")));
  EXPECT_THAT(after, HasSubstr(R"(definition="Timeout")"));
}

TEST(SidecarMetricsTest, WhatBindsTheLimitIsOneSeriesThatIs1) {
  SidecarMetrics metrics("llama", "chat", "0a1b2c3d");
  TunerView tuner;
  EXPECT_THAT(metrics.Text(tuner, {}), Not(HasSubstr("patella_limit_bound_by{")));
  tuner.bound_by = "KvCapacity";
  EXPECT_THAT(metrics.Text(tuner, {}), HasSubstr(Series("patella_limit_bound_by", R"(by="KvCapacity")", "1")));
  tuner.bound_by = "Ceiling";
  const std::string text = metrics.Text(tuner, {});
  EXPECT_THAT(text, HasSubstr(Series("patella_limit_bound_by", R"(by="KvCapacity")", "0")));
  EXPECT_THAT(text, HasSubstr(Series("patella_limit_bound_by", R"(by="Ceiling")", "1")));
}

}  // namespace
}  // namespace patella::sidecar
