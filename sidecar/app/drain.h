// How a replica stops taking requests: before its engine ends (kubelet's preStop of that container; the program stays, and serves again once
// another engine has come), and before it ends itself (SIGTERM).
//
// Lives on one Loop's thread.
#pragma once

#include <functional>
#include <memory>

#include "lib/http/loop.h"
#include "sidecar/proxy/proxy.h"

namespace patella::sidecar {

class Draining {
 public:
  // delay: newcomers are still served so long after BeginForEngine, because nodes that have not heard yet that the pod ends send them.
  // timeout: how long running requests may take after that.
  Draining(http::Loop& loop, Proxy& proxy, Duration delay, Duration timeout);

  void BeginForEngine();
  bool EndForEngine();  // whether one was under way
  bool IdleForEngine() const;
  Duration engine_timeout() const { return delay_ + timeout_; }

  // `done` is called once, when nothing is in flight or the time is up.
  void BeginToLeave(std::function<void()> done);

  bool leaving() const { return leaving_; }
  bool active() const { return leaving_ || for_engine_; }

 private:
  void TurnNewcomersAway();
  bool Idle() const;

  http::Loop& loop_;
  Proxy& proxy_;
  const Duration delay_, timeout_;
  bool for_engine_ = false, leaving_ = false;
  TimePoint newcomers_until_;
  std::unique_ptr<http::Loop::Timer> timer_;
};

}  // namespace patella::sidecar
