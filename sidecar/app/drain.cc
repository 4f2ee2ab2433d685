#include "sidecar/app/drain.h"

#include <utility>

namespace patella::sidecar {

Draining::Draining(http::Loop& loop, Proxy& proxy, Duration delay, Duration timeout)
    : loop_(loop), proxy_(proxy), delay_(delay), timeout_(timeout) {}

void Draining::TurnNewcomersAway() { proxy_.Close(Refusal::kDraining, "Shutting down", 1); }

bool Draining::Idle() const { return proxy_.limiter().in_flight() == 0 && proxy_.limiter().queued() == 0; }

void Draining::BeginForEngine() {
  if (std::exchange(for_engine_, true)) return;
  if (leaving_) return;  // newcomers are turned away already, and the timer is that of the way out
  if (delay_ == Duration::zero()) return TurnNewcomersAway();
  newcomers_until_ = loop_.Now() + delay_;
  timer_ = loop_.After(delay_, [this] {
    if (for_engine_) TurnNewcomersAway();
  });
}

bool Draining::EndForEngine() { return std::exchange(for_engine_, false); }

bool Draining::IdleForEngine() const { return Idle() && loop_.Now() >= newcomers_until_; }

void Draining::BeginToLeave(std::function<void()> done) {
  leaving_ = true;
  TurnNewcomersAway();
  timer_ = loop_.Every(std::chrono::milliseconds(20),
                       [this, done = std::move(done), deadline = loop_.Now() + timeout_, over = false]() mutable {
                         if (over || (!Idle() && loop_.Now() < deadline)) return;
                         over = true;
                         done();
                       });
}

}  // namespace patella::sidecar
