#include "lib/science/autoscale.h"

#include <gtest/gtest.h>

#include "lib/base/random.h"
#include "tests/unit/seed.h"

namespace patella::science {
namespace {

TEST(ErlangBTest, AgreesWithTables) {
  EXPECT_NEAR(ErlangB(1, 1), 0.5, 1e-12);
  EXPECT_NEAR(ErlangB(10, 10), 0.2146, 1e-4);  // Erlang's table
  EXPECT_NEAR(ErlangB(84.06, 100), 0.01, 1e-4);
  EXPECT_EQ(ErlangB(0, 5), 0);
  EXPECT_EQ(ErlangB(3, 0), 1);
}

TEST(ErlangBTest, AgreesWithASimulatedReplica) {
  constexpr double kOffered = 14;
  constexpr int kServers = 22;
  Random random(Seed(3));
  std::vector<double> ends;
  double now = 0;
  int blocked = 0;
  constexpr int kArrivals = 200000;
  for (int i = 0; i < kArrivals; ++i) {
    now += random.Exponential(1 / kOffered);
    std::erase_if(ends, [&](double end) { return end <= now; });
    if (static_cast<int>(ends.size()) == kServers) {
      ++blocked;
    } else {
      ends.push_back(now + random.Exponential(1));
    }
  }
  EXPECT_NEAR(static_cast<double>(blocked) / kArrivals, ErlangB(kOffered, kServers), 0.003);
}

TEST(ReplicasForTest, IsTheLeastThatTurnsFewAway) {
  for (const double offered : {1.0, 20.0, 100.0, 300.0}) {
    const int n = ReplicasFor(offered, 22, 0.01, 1000);
    EXPECT_LE(ErlangB(offered / n, 22), 0.01);
    if (n > 1) {
      EXPECT_GT(ErlangB(offered / (n - 1), 22), 0.01);
    }
  }
  EXPECT_EQ(ReplicasFor(1e6, 22, 0.01, 8), 8);
  EXPECT_EQ(ReplicasFor(5, 0, 0.01, 8), 1);
}

class AutoscalerTest : public testing::Test {
 protected:
  // Feeds a steady load for `seconds` and follows the decisions.
  void Run(double offered, double seconds) {
    for (double end = now_ + seconds; now_ < end; now_ += 5) {
      LoadSample sample{.limit = 20, .replicas = replicas_};
      const double capacity = 20.0 * replicas_;
      sample.in_flight = static_cast<int>(std::min(offered, capacity));
      sample.admitted_per_second = sample.in_flight / 10.0;
      sample.rejected_per_second = std::max(0.0, offered - capacity) / 10.0;
      const ScaleDecision d = scaler_.OnSample(sample, now_);
      if (d.replicas != 0) {
        moves_.push_back(d.replicas);
        moved_at_.push_back(now_);
        EXPECT_FALSE(d.evidence.empty());
        replicas_ = d.replicas;
      }
    }
  }
  Autoscaler scaler_{{.min_replicas = 1, .max_replicas = 8, .stabilization_s = 600}};
  double now_ = 0;
  int replicas_ = 1;
  std::vector<int> moves_;
  std::vector<double> moved_at_;
};

TEST_F(AutoscalerTest, RisesAtOnceButAtMostDoublesAndPauses) {
  Run(4, 60);
  EXPECT_TRUE(moves_.empty());
  const double began = now_;
  Run(90, 600);
  ASSERT_GE(moves_.size(), 2u);
  EXPECT_EQ(moves_[0], 2);
  EXPECT_LE(moved_at_[0] - began, 20);
  EXPECT_GE(moved_at_[1] - moved_at_[0], 60);
  EXPECT_LE(ErlangB(90.0 / replicas_, 20), 0.011);
}

TEST_F(AutoscalerTest, FallsOnlyWhenFewerWereEnoughForTheWholeWindow) {
  Run(90, 600);
  const int high = replicas_;
  moves_.clear();
  Run(10, 550);
  EXPECT_EQ(replicas_, high);
  Run(10, 200);
  EXPECT_LT(replicas_, high);
  EXPECT_EQ(replicas_, ReplicasFor(10, 20, 0.01, 8));
}

TEST_F(AutoscalerTest, AWobblingLoadHardlyMovesTheReplicas) {
  Run(45, 1500);
  moves_.clear();
  Random random(Seed(9));
  for (int i = 0; i < 1200; ++i) Run(random.Uniform(35, 50), 30);
  EXPECT_LE(moves_.size(), 15u);  // in ten hours of a new load each half minute
}

TEST_F(AutoscalerTest, StaysWithinBoundsThatTheUserMoves) {
  Run(1e4, 1200);
  EXPECT_EQ(replicas_, 8);
  scaler_.SetConfig({.min_replicas = 2, .max_replicas = 3});
  Run(1e4, 60);
  EXPECT_EQ(replicas_, 3);
}

TEST_F(AutoscalerTest, WithoutALimitNothingMoves) {
  EXPECT_EQ(scaler_.OnSample({.in_flight = 100, .limit = 0, .replicas = 1}, 0).replicas, 0);
}

}  // namespace
}  // namespace patella::science
