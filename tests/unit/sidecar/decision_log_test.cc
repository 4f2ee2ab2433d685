#include "sidecar/app/decision_log.h"

#include <gtest/gtest.h>

#include "sidecar/app/status.h"

namespace patella::sidecar {
namespace {

constexpr double kEpoch_s = 1'772'366'400;  // 2026-03-01T12:00:00Z, at 1000 s of the tuner's clock

TEST(DecisionLogTest, EachIsTakenOnceWithTheTimeAtWhichItWasMade) {
  DecisionLog log;
  std::vector<Decision> decisions = {{.time_s = 998, .to = 8}, {.time_s = 1000, .to = 9}};
  EXPECT_EQ(log.Take(decisions, 1000, kEpoch_s).size(), 2u);
  EXPECT_EQ(log.Take(decisions, 1001, kEpoch_s + 1).size(), 0u);
  decisions.push_back({.time_s = 1002, .to = 7});
  const auto fresh = log.Take(decisions, 1002, kEpoch_s + 2);
  ASSERT_EQ(fresh.size(), 1u);
  EXPECT_EQ(fresh[0].to, 7);
  ASSERT_EQ(log.all().size(), 3u);
  EXPECT_EQ(log.all()[0].time_s, kEpoch_s - 2);
  EXPECT_EQ(log.all()[2].time_s, kEpoch_s + 2);
}

// It was reckoned anew each second: a decision on the edge of a second, or a clock that was set, told it again as another one.
TEST(DecisionLogTest, AClockThatIsSetLaterMovesNoDecision) {
  DecisionLog log;
  std::vector<Decision> decisions = {{.time_s = 1000, .to = 8}};
  log.Take(decisions, 1000, kEpoch_s);
  decisions.push_back({.time_s = 1010, .to = 9});
  log.Take(decisions, 1010, kEpoch_s + 3610);
  EXPECT_EQ(log.all()[0].time_s, kEpoch_s);
  EXPECT_EQ(log.all()[1].time_s, kEpoch_s + 3610);
  const std::string status = StatusJson({}, log.all(), {});
  EXPECT_NE(status.find("2026-03-01T12:00:00Z"), std::string::npos) << status;
  EXPECT_NE(status.find("2026-03-01T13:00:10Z"), std::string::npos) << status;
}

TEST(DecisionLogTest, WhatTheTunerHasDroppedIsDropped) {
  DecisionLog log;
  std::vector<Decision> decisions;
  for (int i = 0; i < 15; ++i) {
    decisions.push_back({.time_s = 1000.0 + i, .to = static_cast<double>(i)});
    if (decisions.size() > 10) decisions.erase(decisions.begin());
    ASSERT_EQ(log.Take(decisions, 1000 + i, kEpoch_s + i).size(), 1u);
  }
  ASSERT_EQ(log.all().size(), 10u);
  EXPECT_EQ(log.all().front().to, 5);
}

}  // namespace
}  // namespace patella::sidecar
