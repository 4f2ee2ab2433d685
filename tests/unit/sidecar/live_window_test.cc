#include "sidecar/app/live_window.h"

#include <gtest/gtest.h>

namespace patella::sidecar {
namespace {

using enum science::LatencyMetric;

TEST(LiveWindowTest, EachTargetIsJudgedByItsOwnMetricAtItsOwnQuantile) {
  LiveWindow window;
  for (int i = 1; i <= 10; ++i) window.OnStream(10 * i, 100 * i, 1000 * i, 5);
  const auto ratio = [&](science::LatencyMetric metric, double quantile, double target_ms) {
    return window.WorstTargetRatio({{metric, quantile, target_ms}}, 5);
  };
  EXPECT_DOUBLE_EQ(ratio(kTimePerOutputToken, 0.9, 100), 0.9);
  EXPECT_DOUBLE_EQ(ratio(kTimeToFirstToken, 0.5, 1000), 0.5);
  EXPECT_DOUBLE_EQ(ratio(kEndToEnd, 0.9, 4500), 2);
  EXPECT_DOUBLE_EQ(window.WorstTargetRatio({{kTimePerOutputToken, 0.9, 100}, {kEndToEnd, 0.5, 4000}}, 5), 1.25);
}

TEST(LiveWindowTest, AnAnswerInOnePieceTellsOfItsWholeTimeAlone) {
  LiveWindow window;
  window.OnStream(0, 0, 3000, 1);
  EXPECT_EQ(window.LatencyMs(kTimePerOutputToken, 0.9, 1), 0);
  EXPECT_EQ(window.LatencyMs(kEndToEnd, 0.9, 1), 3000);
}

TEST(LiveWindowTest, WhatIsLongAgoTellsNothing) {
  LiveWindow window;
  window.OnStream(10, 100, 1000, 0);
  EXPECT_EQ(window.LatencyMs(kEndToEnd, 0.9, 30), 1000);
  EXPECT_EQ(window.LatencyMs(kEndToEnd, 0.9, 31), 0);
  EXPECT_EQ(window.WorstTargetRatio({{kEndToEnd, 0.9, 500}}, 31), 0);
}

}  // namespace
}  // namespace patella::sidecar
