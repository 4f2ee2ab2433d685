#include "engine/backend/cpu/thread_pool.h"

#include <chrono>

namespace patella::engine::cpu {
namespace {

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Spins while `value` stays `old` for about 20 µs, then sleeps until it changes.
void WaitWhile(const std::atomic<int32_t>& value, int32_t old) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::microseconds(20);
  do {
    for (int i = 0; i < 32; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      Pause();
    }
  } while (Clock::now() < end);
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Work(); });
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(int tiles, absl::FunctionRef<void(int)> work) {
  if (tiles <= 1 || workers_.empty()) {
    for (int i = 0; i < tiles; ++i) work(i);
    return;
  }
  work_.store(&work, std::memory_order_relaxed);
  unfinished_.store(tiles, std::memory_order_relaxed);
  const auto epoch = static_cast<uint32_t>(epoch_.load(std::memory_order_relaxed)) + 1;
  tickets_.store(uint64_t{epoch} << 32 | static_cast<uint32_t>(tiles), std::memory_order_release);
  epoch_.store(static_cast<int32_t>(epoch), std::memory_order_release);
  epoch_.notify_all();
  Claim(epoch);
  for (int32_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    WaitWhile(unfinished_, left);
  }
}

void ThreadPool::Claim(uint32_t epoch) {
  uint64_t ticket = tickets_.load(std::memory_order_acquire);
  while (ticket >> 32 == epoch && static_cast<uint32_t>(ticket) != 0) {
    absl::FunctionRef<void(int)>* work = work_.load(std::memory_order_relaxed);
    if (!tickets_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
      continue;
    }
    (*work)(static_cast<int>(static_cast<uint32_t>(ticket)) - 1);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_all();
    ticket = tickets_.load(std::memory_order_acquire);
  }
}

void ThreadPool::Work() {
  int32_t seen = 0;
  while (true) {
    WaitWhile(epoch_, seen);
    seen = epoch_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_acquire)) return;
    Claim(static_cast<uint32_t>(seen));
  }
}

}  // namespace patella::engine::cpu
