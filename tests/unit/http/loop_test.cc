#include "lib/http/loop.h"

#include <gtest/gtest.h>

#include <csignal>
#include <string>

namespace patella::http {
namespace {

TEST(LoopTest, TimersFireInOrderAndNeverAfterTheyAreDropped) {
  Loop loop;
  std::string order;
  auto a = loop.After(std::chrono::milliseconds(2), [&] { order += "b"; });
  auto b = loop.After(std::chrono::milliseconds(1), [&] { order += "a"; });
  auto never = loop.After(std::chrono::milliseconds(1), [&] { order += "!"; });
  int ticks = 0;
  std::unique_ptr<Loop::Timer> every;
  every = loop.Every(std::chrono::milliseconds(1), [&] {
    if (++ticks == 5) {
      every.reset();
      order += "5";
      loop.Stop();
    }
  });
  never.reset();
  loop.Run();
  EXPECT_EQ(order, "ab5");
  EXPECT_EQ(ticks, 5);
}

TEST(LoopTest, StopEndsRunAfterTheCallbackInProgressAndTheRestRunsNextTime) {
  Loop loop;
  std::string order;
  loop.Post([&] {
    order += "1";
    loop.Stop();
  });
  loop.Post([&] {
    order += "2";
    loop.Stop();
  });
  loop.Run();
  EXPECT_EQ(order, "1");
  loop.Run();
  EXPECT_EQ(order, "12");
}

TEST(LoopTest, PendingCallbacksAreDestroyedNotRun) {
  const auto held = std::make_shared<int>(1);
  bool ran = false;
  {
    Loop loop;
    loop.Post([held, &ran] { ran = true; });
  }
  EXPECT_FALSE(ran);
  EXPECT_EQ(held.use_count(), 1);
}

TEST(LoopTest, SignalsArriveOnTheLoop) {
  Loop loop;
  int got = 0;
  loop.OnSignals({SIGHUP}, [&](int number) {
    got = number;
    loop.Stop();
  });
  raise(SIGHUP);
  loop.Run();
  EXPECT_EQ(got, SIGHUP);
}

}  // namespace
}  // namespace patella::http
