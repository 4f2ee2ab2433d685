// Draining over a real loop and a proxy that nothing passes.
#include "sidecar/app/drain.h"

#include <gtest/gtest.h>

namespace patella::sidecar {
namespace {

TEST(DrainingTest, AnEnginesDrainThatComesWhileTheSidecarLeavesDoesNotKeepItFromLeaving) {
  http::Loop loop;
  Proxy proxy(loop, {}, {.requests = 1}, {});
  Draining draining(loop, proxy, /*delay=*/std::chrono::hours(1), /*timeout=*/std::chrono::hours(1));
  int left = 0;
  draining.BeginToLeave([&] {
    ++left;
    loop.Stop();
  });
  draining.BeginForEngine();  // GET /drain, by kubelet's preStop
  EXPECT_TRUE(draining.IdleForEngine()) << "newcomers are turned away already: nobody need wait for them";
  const auto give_up = loop.After(std::chrono::seconds(30), [&] { loop.Stop(); });
  loop.Run();
  EXPECT_EQ(left, 1);
}

}  // namespace
}  // namespace patella::sidecar
