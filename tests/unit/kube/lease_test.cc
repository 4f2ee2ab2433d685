#include "lib/kube/lease.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <map>

#include "lib/kube/memory_client.h"
#include "tests/unit/kube/until.h"

namespace patella::kube {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = LeaseMachine::Action::Kind;

LeaseSettings Settings(const std::string& identity, bool watch = false) {
  return {.namespace_name = "ns", .name = "lease", .identity = identity, .watch = watch};
}

// Candidates and a Lease in virtual time. A candidate that is away gets no answers; one that is dead does nothing.
class Election {
 public:
  explicit Election(bool watch) : watch_(watch) {}

  void Add(const std::string& name) { machines_.try_emplace(name, Settings(name, watch_), machines_.size() + 1); }
  void Kill(const std::string& name) { machines_.erase(name); }
  void Delete() { record_.reset(); }  // by hand; watches tell of it, but nobody listens
  void SetAway(const std::string& name, bool away) { away_[name] = away; }
  void Release(const std::string& name) {
    if (const auto record = machines_.at(name).Release()) Write(*record);
    machines_.erase(name);
  }

  void Advance(Duration d) {
    const TimePoint until = now_ + d;
    for (; now_ < until; now_ += milliseconds(50)) {
      for (auto& [name, machine] : machines_) Step(name, machine);
      int leaders = 0;
      for (auto& [name, machine] : machines_) leaders += machine.Leading(now_);
      most_leaders_ = std::max(most_leaders_, leaders);
      moments_without += leaders == 0;
    }
  }

  std::string Leader() const {
    for (const auto& [name, machine] : machines_) {
      if (machine.Leading(now_)) return name;
    }
    return "";
  }
  int most_leaders() const { return most_leaders_; }
  int gets = 0, writes = 0, moments_without = 0;

 private:
  void Step(const std::string& name, LeaseMachine& machine) {
    for (int i = 0; i < 4; ++i) {  // more than that in one moment would be a hot loop
      const LeaseMachine::Action action = machine.Next(now_);
      if (action.kind == Kind::kWait) return;
      if (away_[name]) {
        machine.Answer(now_, now_, absl::UnavailableError("away"));
        continue;
      }
      if (action.kind == Kind::kGet) {
        ++gets;
        machine.Answer(now_, now_, record_ ? absl::StatusOr<LeaseRecord>(*record_) : NotFound());
        continue;
      }
      ++writes;
      if (record_ && action.record.resource_version != record_->resource_version) {
        machine.Answer(now_, now_, ToStatus(ApiError{409, "Conflict", "", {}, {}}, {}));
        continue;
      }
      LeaseRecord written = action.record;
      written.renew_time = std::to_string(++times_);
      Write(written);
      machine.Answer(now_, now_, *record_);
    }
    ADD_FAILURE() << name << " turns in a hot loop";
  }

  static absl::StatusOr<LeaseRecord> NotFound() { return ToStatus(ApiError{404, "NotFound", "", {}, {}}, {}); }

  void Write(LeaseRecord record) {
    record.resource_version = std::to_string(++version_);
    record.json = "{}";
    record_ = record;
    if (!watch_) return;
    for (auto& [name, machine] : machines_) {
      if (!away_[name]) machine.Observe(now_, record);
    }
  }

  const bool watch_;
  TimePoint now_{seconds(1000)};
  std::map<std::string, LeaseMachine> machines_;
  std::map<std::string, bool> away_;
  std::optional<LeaseRecord> record_;
  int version_ = 0, times_ = 0, most_leaders_ = 0;
};

class ElectionTest : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(PollingAndWatching, ElectionTest, testing::Bool());

TEST_P(ElectionTest, OneLeadsAndOnlyOne) {
  Election election(GetParam());
  for (const char* name : {"a", "b", "c"}) election.Add(name);
  election.Advance(seconds(60));
  EXPECT_NE(election.Leader(), "");
  EXPECT_EQ(election.most_leaders(), 1);
}

TEST_P(ElectionTest, AReleasedLeaseIsTakenWithinThreeSeconds) {
  Election election(GetParam());
  election.Add("a");
  election.Advance(seconds(5));
  election.Add("b");
  election.Advance(seconds(20));
  ASSERT_EQ(election.Leader(), "a");
  election.Release("a");
  election.Advance(milliseconds(GetParam() ? 100 : 4500));  // without a watch: the next look
  EXPECT_EQ(election.Leader(), "b");
}

TEST_P(ElectionTest, ACrashedLeaderIsFollowedWithinItsLease) {
  Election election(GetParam());
  election.Add("a");
  election.Advance(seconds(5));
  election.Add("b");
  election.Advance(seconds(20));
  election.Kill("a");
  election.Advance(seconds(12));
  EXPECT_EQ(election.Leader(), "") << "the lease still runs";
  election.Advance(seconds(10));
  EXPECT_EQ(election.Leader(), "b");
}

TEST_P(ElectionTest, ALeaderThatCannotRenewStopsBeforeAnotherStarts) {
  Election election(GetParam());
  election.Add("a");
  election.Advance(seconds(5));
  election.Add("b");
  election.Advance(seconds(20));
  election.SetAway("a", true);
  election.Advance(seconds(11));
  EXPECT_EQ(election.Leader(), "");
  election.Advance(seconds(15));
  EXPECT_EQ(election.Leader(), "b");
  election.SetAway("a", false);
  election.Advance(seconds(30));
  EXPECT_EQ(election.Leader(), "b");
  EXPECT_EQ(election.most_leaders(), 1);
}

TEST_P(ElectionTest, ALeaseThatIsDeletedByHandIsMadeAnewByTheOneThatLeads) {
  Election election(GetParam());
  election.Add("a");
  election.Advance(seconds(5));
  election.Add("b");
  election.Advance(seconds(20));
  election.moments_without = 0;
  for (int i = 0; i < 10; ++i) {
    election.Delete();
    election.Advance(seconds(7));
    EXPECT_EQ(election.Leader(), "a");
  }
  EXPECT_EQ(election.moments_without, 0);
  EXPECT_EQ(election.most_leaders(), 1);
}

TEST_P(ElectionTest, ALeaseThatIsDeletedAndNotMadeAnewIsTakenOnceItWouldHaveExpired) {
  Election election(GetParam());
  election.Add("a");
  election.Advance(seconds(5));
  election.Add("b");
  election.Advance(seconds(20));
  election.SetAway("a", true);  // it still leads until it finds that it cannot renew
  election.Delete();
  election.Advance(seconds(11));
  EXPECT_EQ(election.Leader(), "");
  election.Advance(seconds(10));
  EXPECT_EQ(election.Leader(), "b");
  EXPECT_EQ(election.most_leaders(), 1);
}

TEST(LeaseMachineTest, AWatchingFollowerAsksNothing) {
  Election election(/*watch=*/true);
  election.Add("a");
  election.Advance(seconds(5));
  for (int i = 0; i < 50; ++i) election.Add("f" + std::to_string(i));
  election.Advance(seconds(10));
  election.gets = election.writes = 0;
  election.Advance(seconds(600));
  EXPECT_EQ(election.Leader(), "a");
  EXPECT_EQ(election.gets, 0);
  EXPECT_NEAR(election.writes, 300, 15) << "the leader's renewals, every 2 s";
}

TEST(LeaseMachineTest, AnAnswerLostDoesNotLoseTheLease) {
  LeaseMachine machine(Settings("a"), 1);
  TimePoint now{seconds(100)};
  ASSERT_EQ(machine.Next(now).kind, Kind::kGet);
  machine.Answer(now, now, ToStatus(ApiError{404, "NotFound", "", {}, {}}, {}));
  LeaseMachine::Action write = machine.Next(now);
  ASSERT_EQ(write.kind, Kind::kWrite);
  machine.Answer(now, now, absl::DeadlineExceededError("no answer"));  // but it was written
  EXPECT_FALSE(machine.Leading(now));
  now += seconds(5);
  ASSERT_EQ(machine.Next(now).kind, Kind::kGet);
  LeaseRecord record = write.record;
  record.resource_version = "1";
  record.json = "{}";
  machine.Answer(now, now, record);
  write = machine.Next(now);
  ASSERT_EQ(write.kind, Kind::kWrite) << "it is ours: renewed at once";
  EXPECT_EQ(write.record.transitions, 0);
}

TEST(LeaseSettingsTest, ImpossibleTimesAreRefused) {
  EXPECT_TRUE(CheckLeaseSettings(Settings("a")).ok());
  LeaseSettings s = Settings("a");
  s.renew_deadline = s.duration;
  EXPECT_FALSE(CheckLeaseSettings(s).ok());
  s = Settings("");
  EXPECT_FALSE(CheckLeaseSettings(s).ok());
}

TEST(LeaderElectorTest, LeadsThroughAClientAndGivesTheLeaseUp) {
  MemoryClient client;
  SteadyClock clock;
  std::atomic<int> started = 0, stopped = 0;
  metrics::Metrics metrics("test", "0");
  LeaderElector a(&client, Settings("a", /*watch=*/true), clock,
                  {.on_started = [&] { ++started; }, .on_stopped = [&](const std::string&) { ++stopped; }}, &metrics);
  a.Start();
  ASSERT_TRUE(Until([&] { return started == 1; }, seconds(5)));
  EXPECT_TRUE(a.IsLeader());
  LeaderElector b(&client, Settings("b", /*watch=*/true), clock, {});
  b.Start();
  ASSERT_TRUE(Until([&] { return b.Holder() == "a"; }, seconds(5)));
  EXPECT_FALSE(b.IsLeader());
  a.Stop(/*release=*/true);
  EXPECT_EQ(stopped, 1);
  EXPECT_TRUE(Until([&] { return b.IsLeader(); }, seconds(5)));
  const auto lease = client.Get(kLeases, "ns", "lease");
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(ParseLease(**lease)->holder, "b");
  EXPECT_EQ(ParseLease(**lease)->transitions, 1);
  b.Stop(false);
}

TEST(LeaderElectorTest, TellsWhyItLeadsNoMore) {
  MemoryClient client;
  SteadyClock clock;
  std::atomic<int> started = 0;
  std::promise<std::string> stopped;
  LeaseSettings settings = Settings("a", /*watch=*/true);
  settings.retry_period = milliseconds(20);
  LeaderElector a(
      &client, settings, clock,
      {.on_started = [&] { ++started; }, .on_stopped = [&](const std::string& why) { stopped.set_value(why); }});
  a.Start();
  ASSERT_TRUE(Until([&] { return started == 1; }, seconds(5)));
  ASSERT_TRUE(client.Delete(kLeases, "ns", "lease").ok());
  ASSERT_TRUE(Until([&] { return client.Get(kLeases, "ns", "lease").ok(); }, seconds(5))) << "made anew";
  EXPECT_TRUE(a.IsLeader());
  ASSERT_TRUE(client.MergePatch(kLeases, "ns", "lease", R"({"spec":{"holderIdentity":"somebody"}})").ok());
  auto why = stopped.get_future();
  ASSERT_EQ(why.wait_for(seconds(10)), std::future_status::ready);
  EXPECT_EQ(why.get(), "somebody has taken it");
  a.Stop(/*release=*/false);
}

TEST(LeaderElectorTest, AWallClockThatIsSetIsToldOnceAndLosesNothing) {
  MemoryClient client;
  SteadyClock clock;
  int looks = 0;  // the elector's thread's
  std::promise<void> enough;
  std::atomic<int> stopped = 0;
  LeaseSettings settings = Settings("a", /*watch=*/false);
  settings.duration = std::chrono::seconds(3);
  settings.renew_deadline = std::chrono::seconds(2);
  settings.retry_period = milliseconds(20);
  settings.wall_time = [&] {  // set an hour back, once
    if (++looks == 30) enough.set_value();
    const auto now = std::chrono::system_clock::now();
    return looks < 10 ? now : now - std::chrono::hours(1);
  };
  testing::internal::CaptureStderr();
  std::vector<long> moves;
  LeaderElector elector(&client, settings, clock,
                        {.on_stopped = [&](const std::string&) { ++stopped; },
                         .on_clock_set = [&](Duration moved) { moves.push_back(std::lround(Seconds(moved))); }});
  elector.Start();
  ASSERT_EQ(enough.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready) << "it stopped renewing";
  EXPECT_TRUE(elector.IsLeader());
  EXPECT_EQ(stopped, 0);
  elector.Stop(/*release=*/false);
  const std::string log = testing::internal::GetCapturedStderr();
  const size_t told = log.find("the wall clock was set");
  ASSERT_NE(told, std::string::npos) << log;
  EXPECT_EQ(log.find("the wall clock was set", told + 1), std::string::npos) << log;
  EXPECT_NE(log.find("by_s=-36"), std::string::npos) << log;
  EXPECT_EQ(moves, std::vector<long>{-3600});
}

}  // namespace
}  // namespace patella::kube
