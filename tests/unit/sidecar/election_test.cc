#include "sidecar/cluster/election.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace patella::sidecar {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = kube::LeaseMachine::Action::Kind;

TEST(ElectionTest, TheElectedOneRenewsALeaseOf45SecondsEvery15Seconds) {
  const kube::LeaseSettings settings = ElectionOf("models", "m", "pod-a");
  ASSERT_TRUE(kube::CheckLeaseSettings(settings).ok());
  EXPECT_EQ(settings.name, "m-autotuner");
  EXPECT_THAT(settings.identity, testing::StartsWith("pod-a_"));

  kube::LeaseRecord lease{.resource_version = "1", .json = "{}"};  // as the operator makes it
  kube::LeaseMachine machine(settings, 1);
  std::vector<TimePoint> written;
  const TimePoint begin{seconds(1000)};
  for (TimePoint now = begin; now < begin + std::chrono::minutes(10); now += milliseconds(50)) {
    for (auto action = machine.Next(now); action.kind != Kind::kWait; action = machine.Next(now)) {
      if (action.kind == Kind::kWrite) {
        EXPECT_THAT(kube::LeaseJson(settings, action.record), testing::HasSubstr(R"("leaseDurationSeconds":45)"));
        written.push_back(now);
        lease = action.record;
        lease.resource_version = std::to_string(written.size() + 1);
        lease.renew_time = lease.resource_version;
      }
      machine.Answer(now, now, lease);
    }
    ASSERT_TRUE(now == begin || machine.Leading(now));
  }
  ASSERT_GE(written.size(), 2u);
  for (size_t i = 1; i < written.size(); ++i) EXPECT_EQ(Seconds(written[i] - written[i - 1]), 15);
}

TEST(ElectionTest, ASidecarThatMissesTwoRenewalsStillLeadsAndOneThatMissesThemAllDoesNot) {
  const kube::LeaseSettings settings = ElectionOf("models", "m", "pod-a");
  kube::LeaseMachine machine(settings, 1);
  const TimePoint begin{seconds(1000)};
  const kube::LeaseRecord lease{.resource_version = "1", .json = "{}"};
  ASSERT_EQ(machine.Next(begin).kind, Kind::kGet);
  machine.Answer(begin, begin, lease);
  const auto write = machine.Next(begin);
  ASSERT_EQ(write.kind, Kind::kWrite);
  kube::LeaseRecord ours = write.record;
  ours.resource_version = "2";
  machine.Answer(begin, begin, ours);
  EXPECT_TRUE(machine.Leading(begin + seconds(39)));
  EXPECT_FALSE(machine.Leading(begin + seconds(40))) << "five seconds before another may";
}

}  // namespace
}  // namespace patella::sidecar
