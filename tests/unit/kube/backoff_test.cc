#include "lib/kube/backoff.h"

#include <gtest/gtest.h>

namespace patella::kube {
namespace {

using std::chrono::seconds;

TEST(BackoffTest, DoublesUpToItsCapAndAddsAtMostTheJitter) {
  Backoff backoff({.initial = seconds(1), .cap = seconds(30), .factor = 2, .jitter = 0.5}, 1);
  const TimePoint now{};
  for (const double base : {1., 2., 4., 8., 16., 30., 30., 30.}) {
    const double waited = Seconds(backoff.Next(now));
    EXPECT_GE(waited, base);
    EXPECT_LT(waited, 1.5 * base);
  }
}

TEST(BackoffTest, TwoThatFailTogetherDoNotComeBackTogether) {
  Backoff one({}, 1), other({}, 2);
  EXPECT_NE(one.Next({}), other.Next({}));
  Backoff same({}, 1), again({}, 1);
  EXPECT_EQ(same.Next({}), again.Next({})) << "the seed alone decides";
}

TEST(BackoffTest, BeginsAnewAfterALongQuietTimeOrASuccess) {
  const BackoffSettings settings{.initial = seconds(1), .cap = seconds(30), .jitter = 0, .reset_after = seconds(120)};
  Backoff backoff(settings, 1);
  const TimePoint begun{};
  EXPECT_EQ(backoff.Next(begun), seconds(1));
  EXPECT_EQ(backoff.Next(begun + seconds(120)), seconds(2));
  EXPECT_EQ(backoff.Next(begun + seconds(241)), seconds(1));
  EXPECT_EQ(backoff.Next(begun + seconds(242)), seconds(2));
  backoff.Reset();
  EXPECT_EQ(backoff.Next(begun + seconds(243)), seconds(1));
}

}  // namespace
}  // namespace patella::kube
