#include "lib/kube/work_queue.h"

#include <gtest/gtest.h>

#include <thread>

#include "lib/base/random.h"

namespace patella::kube {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

ObjectKey Key(const std::string& name) { return {"ns", name}; }

TEST(WorkQueueTest, AKeyAddedTwiceComesOnceAndAgainIfAddedWhileWithAWorker) {
  ManualClock clock;
  WorkQueue queue({}, clock);
  queue.Add(Key("a"));
  queue.Add(Key("a"));
  ASSERT_EQ(queue.TryGet(), Key("a"));
  EXPECT_EQ(queue.TryGet(), std::nullopt);
  queue.Add(Key("a"));
  EXPECT_EQ(queue.TryGet(), std::nullopt) << "a key is with one worker at a time";
  queue.Done(Key("a"));
  EXPECT_EQ(queue.TryGet(), Key("a"));
  queue.Done(Key("a"));
  EXPECT_EQ(queue.Processing(), 0u);
}

TEST(WorkQueueTest, HigherPriorityFirstThenFirstCome) {
  ManualClock clock;
  WorkQueue queue({}, clock);
  queue.Add(Key("restart"), kPriorityInitial);
  queue.Add(Key("b"));
  queue.Add(Key("a"));
  queue.Add(Key("restart2"), kPriorityInitial);
  queue.Add(Key("restart2"));  // a user changed it
  for (const char* name : {"b", "a", "restart2", "restart"}) {
    const auto key = queue.TryGet();
    ASSERT_TRUE(key.has_value());
    EXPECT_EQ(key->name, name);
    queue.Done(*key);
  }
}

TEST(WorkQueueTest, FailuresWaitTwiceAsLongEachTimeUntilForgotten) {
  ManualClock clock;
  WorkQueue queue({.bucket_per_second = 1e6, .bucket_size = 1000000}, clock);
  Duration expected = milliseconds(5);
  for (int i = 0; i < 8; ++i, expected *= 2) {
    queue.AddRateLimited(Key("a"));
    ASSERT_TRUE(queue.NextDelayed().has_value());
    EXPECT_EQ(*queue.NextDelayed() - clock.Now(), expected);
    clock.Advance(expected - milliseconds(1));
    EXPECT_EQ(queue.TryGet(), std::nullopt);
    clock.Advance(milliseconds(1));
    ASSERT_EQ(queue.TryGet(), Key("a"));
    queue.Done(Key("a"));
  }
  queue.Forget(Key("a"));
  queue.AddRateLimited(Key("a"));
  EXPECT_EQ(*queue.NextDelayed() - clock.Now(), milliseconds(5));
}

TEST(WorkQueueTest, TheGlobalBucketHoldsBackAStorm) {
  ManualClock clock;
  WorkQueue queue({.bucket_per_second = 10, .bucket_size = 3}, clock);
  for (int i = 0; i < 23; ++i) queue.AddRateLimited(Key(std::to_string(i)));
  clock.Advance(seconds(1));
  int ready = 0;
  while (const auto key = queue.TryGet()) ++ready, queue.Done(*key);
  EXPECT_EQ(ready, 13);
}

TEST(WorkQueueTest, TheEarlierOfTwoDelaysCounts) {
  ManualClock clock;
  WorkQueue queue({}, clock);
  queue.AddAfter(Key("a"), seconds(60));
  queue.AddAfter(Key("a"), seconds(5));
  queue.AddAfter(Key("a"), seconds(30));
  clock.Advance(seconds(5));
  EXPECT_EQ(queue.TryGet(), Key("a"));
  queue.Done(Key("a"));
  clock.Advance(seconds(120));
  EXPECT_EQ(queue.TryGet(), std::nullopt);
}

TEST(WorkQueueTest, AfterShutDownWhatIsReadyIsStillGivenOut) {
  SteadyClock clock;
  WorkQueue queue({}, clock);
  queue.Add(Key("a"));
  queue.AddAfter(Key("late"), seconds(60));
  queue.ShutDown();
  queue.Add(Key("b"));
  EXPECT_EQ(queue.Get(), Key("a"));
  queue.Done(Key("a"));
  EXPECT_EQ(queue.Get(), std::nullopt);
}

TEST(WorkQueueTest, NoAdditionIsLostAndNoKeyIsWithTwoWorkers) {
  SteadyClock clock;
  WorkQueue queue({}, clock);
  constexpr int kKeys = 20, kAdders = 3, kRounds = 2000;
  std::array<std::atomic<int>, kKeys> added{}, seen{}, busy{};
  std::atomic<bool> clash = false;
  std::vector<std::thread> workers, adders;
  for (int w = 0; w < 4; ++w) {
    workers.emplace_back([&] {
      while (const auto key = queue.Get()) {
        const int i = std::stoi(key->name);
        if (busy[i].fetch_add(1) != 0) clash = true;
        seen[i] = added[i].load();  // what a reconcile would see
        busy[i].fetch_sub(1);
        queue.Done(*key);
      }
    });
  }
  for (int a = 0; a < kAdders; ++a) {
    adders.emplace_back([&, a] {
      Random random(a + 1);
      for (int r = 0; r < kRounds; ++r) {
        const auto i = static_cast<size_t>(random.UniformInt(0, kKeys - 1));
        ++added[i];
        queue.Add(Key(std::to_string(i)));
      }
    });
  }
  for (auto& t : adders) t.join();
  queue.ShutDown();
  for (auto& t : workers) t.join();
  EXPECT_FALSE(clash);
  for (int i = 0; i < kKeys; ++i) EXPECT_EQ(seen[i], added[i]) << "key " << i;
}

}  // namespace
}  // namespace patella::kube
