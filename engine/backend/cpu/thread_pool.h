// Splits one operation into tiles over a few threads. The caller works too, and could finish alone: a worker that wakes
// late finds no tile left, so an oversubscribed machine costs time, never a stall at a barrier.
//
// Waiting is ~20 µs of spinning, then a futex. Thread-compatible: one thread calls Run.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace patella::engine::cpu {

class ThreadPool {
 public:
  // threads ≥ 1, the caller included.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // Calls work(0) … work(tiles − 1), each once, in any order on any thread; returns when all have returned. Allocates nothing.
  void Run(int tiles, absl::FunctionRef<void(int)> work);

 private:
  void Work();
  void Claim(uint32_t epoch);

  // (epoch << 32 | tiles not yet claimed). A claim is a compare-exchange that also proves the epoch, so a worker that fell
  // behind can't run an old operation on a new one's tile.
  std::atomic<uint64_t> tickets_{0};
  std::atomic<absl::FunctionRef<void(int)>*> work_{nullptr};
  std::atomic<int32_t> unfinished_{0};
  std::atomic<int32_t> epoch_{0};  // what sleeping workers wait on
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace patella::engine::cpu
