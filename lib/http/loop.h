// One thread's event loop: everything in lib/http runs on a Loop, and its callbacks run on that Loop's thread.
//
// Threading: Post and Stop are thread-safe; all else is called on the loop's thread (or before Run). No callback may
// block.
#pragma once

#include <functional>
#include <memory>

#include "lib/base/clock.h"

namespace patella::http {

class Loop {
 public:
  Loop();
  ~Loop();  // destroys pending callbacks without running them
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void Run();   // on the calling thread, until Stop
  void Stop();  // thread-safe; Run returns after the callback in progress

  void Post(std::function<void()> fn);  // thread-safe; fn runs on the loop's thread

  // Cancels on destruction; never fires afterwards.
  class Timer {
   public:
    virtual ~Timer() = default;
  };
  [[nodiscard]] std::unique_ptr<Timer> After(Duration delay, std::function<void()> fn);
  [[nodiscard]] std::unique_ptr<Timer> Every(Duration period, std::function<void()> fn);

  // Calls fn with the signal's number on the loop's thread, each time one of SIGINT, SIGTERM, SIGHUP (as listed)
  // arrives.
  void OnSignals(std::initializer_list<int> signals, std::function<void(int)> fn);

  TimePoint Now() const { return std::chrono::steady_clock::now(); }

  struct Impl;  // an Asio io_context; seen only inside lib/http
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::http
