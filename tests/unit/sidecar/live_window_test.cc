#include "sidecar/app/live_window.h"

#include <gtest/gtest.h>

namespace patella::sidecar {
namespace {

TEST(LiveWindowTest, EachTargetIsJudgedByItsOwnMetricAtItsOwnQuantile) {
  LiveWindow window;
  for (int i = 1; i <= 10; ++i) window.OnStream(10 * i, 100 * i, 1000 * i, 5);
  const auto ratio = [&](const char* metric, double quantile, double target_ms) {
    return window.WorstTargetRatio({{metric, quantile, target_ms}}, 5);
  };
  EXPECT_DOUBLE_EQ(ratio("TimePerOutputToken", 0.9, 100), 0.9);
  EXPECT_DOUBLE_EQ(ratio("TimeToFirstToken", 0.5, 1000), 0.5);
  EXPECT_DOUBLE_EQ(ratio("EndToEnd", 0.9, 4500), 2);
  EXPECT_DOUBLE_EQ(window.WorstTargetRatio({{"TimePerOutputToken", 0.9, 100}, {"EndToEnd", 0.5, 4000}}, 5), 1.25);
}

TEST(LiveWindowTest, AnAnswerInOnePieceTellsOfItsWholeTimeAlone) {
  LiveWindow window;
  window.OnStream(0, 0, 3000, 1);
  EXPECT_EQ(window.MsPerToken(0.9, 1), 0);
  EXPECT_EQ(window.EndToEndMs(0.9, 1), 3000);
}

TEST(LiveWindowTest, WhatIsLongAgoTellsNothing) {
  LiveWindow window;
  window.OnStream(10, 100, 1000, 0);
  EXPECT_EQ(window.EndToEndMs(0.9, 30), 1000);
  EXPECT_EQ(window.EndToEndMs(0.9, 31), 0);
  EXPECT_EQ(window.WorstTargetRatio({{"EndToEnd", 0.9, 500}}, 31), 0);
}

}  // namespace
}  // namespace patella::sidecar
