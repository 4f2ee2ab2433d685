#include "engine/backend/cpu/thread_pool.h"

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace patella::engine::cpu {
namespace {

TEST(ThreadPoolTest, EveryTileRunsExactlyOnceEvenWithMoreThreadsThanCores) {
  for (int threads : {1, 2, 7}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 2000; ++round) {
      const int tiles = round % 23;
      std::vector<std::atomic<int>> seen(static_cast<size_t>(tiles));
      pool.Run(tiles, [&](int tile) { seen[static_cast<size_t>(tile)].fetch_add(1); });
      for (auto& count : seen) ASSERT_EQ(count.load(), 1);
    }
  }
}

TEST(ThreadPoolTest, WritesOfTheTilesAreVisibleAfterRun) {
  ThreadPool pool(3);
  std::vector<int> values(64);
  for (int round = 1; round < 2000; ++round) {
    pool.Run(64, [&](int tile) { values[static_cast<size_t>(tile)] += 1; });
    for (int value : values) ASSERT_EQ(value, round);
  }
}

}  // namespace
}  // namespace patella::engine::cpu
