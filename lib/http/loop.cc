#include "lib/http/loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include "lib/http/internal.h"

namespace patella::http {

void Mailbox::Post(std::function<void()> fn) {
  const std::lock_guard lock(mutex_);
  if (io_ == nullptr) return;  // fn is destroyed by the caller, outside the lock
  waiting_.push_back(std::move(fn));
  if (!scheduled_) Schedule();
}

void Mailbox::Schedule() {
  scheduled_ = true;
  asio::post(*io_, [weak = weak_from_this()] {
    if (const std::shared_ptr<Mailbox> mailbox = weak.lock()) mailbox->RunAll();
  });
}

void Mailbox::RunAll() {
  std::vector<std::function<void()>> batch;
  {
    const std::lock_guard lock(mutex_);
    batch.swap(waiting_);
    scheduled_ = false;
  }
  for (auto next = batch.begin(); next != batch.end();) {
    std::exchange(*next++, nullptr)();  // what it holds is released before the next one runs
    const std::lock_guard lock(mutex_);
    if (io_ == nullptr || !io_->stopped()) continue;
    // Stop was called: what is left goes back to the front, for the next Run.
    waiting_.insert(waiting_.begin(), std::make_move_iterator(next), std::make_move_iterator(batch.end()));
    if (!waiting_.empty() && !scheduled_) Schedule();
    return;
  }
}

void Mailbox::Close() {
  std::vector<std::function<void()>> dropped;
  const std::lock_guard lock(mutex_);
  io_ = nullptr;
  dropped.swap(waiting_);
}

Loop::Loop() : impl_(std::make_unique<Impl>()) {}

Loop::~Loop() {
  // Callbacks that are destroyed here may own objects whose destructors post to this loop: the mailbox is closed first.
  const std::shared_ptr<Mailbox> mailbox = impl_->mailbox;
  mailbox->Close();
  impl_.reset();
}

void Loop::Run() {
  const auto guard = asio::make_work_guard(impl_->io);
  impl_->io.run();
  impl_->io.restart();
}

void Loop::Stop() { impl_->io.stop(); }

void Loop::Post(std::function<void()> fn) { impl_->mailbox->Post(std::move(fn)); }

namespace {

// Both timers: one shot if period is zero.
class LoopTimer final : public Loop::Timer {
 public:
  LoopTimer(asio::io_context& io, Duration delay, Duration period, std::function<void()> fn)
      : state_(std::make_shared<State>(io)) {
    state_->fn = std::move(fn);
    state_->period = period;
    state_->timer.expires_after(delay);
    Wait(state_);
  }
  ~LoopTimer() override {
    state_->cancelled = true;
    state_->timer.cancel();
  }

 private:
  struct State {
    explicit State(asio::io_context& io) : timer(io) {}
    asio::steady_timer timer;
    std::function<void()> fn;
    Duration period{};
    bool cancelled = false;
  };

  static void Wait(const std::shared_ptr<State>& state) {
    state->timer.async_wait([state](const error_code& error) {
      if (error || state->cancelled) return;
      state->fn();  // may destroy the timer
      if (state->cancelled || state->period == Duration::zero()) return;
      // A late tick does not bring on a burst of others.
      const TimePoint now = std::chrono::steady_clock::now();
      TimePoint next = state->timer.expiry() + state->period;
      if (next < now) next = now + state->period;
      state->timer.expires_at(next);
      Wait(state);
    });
  }

  std::shared_ptr<State> state_;
};

}  // namespace

std::unique_ptr<Loop::Timer> Loop::After(Duration delay, std::function<void()> fn) {
  return std::make_unique<LoopTimer>(impl_->io, delay, Duration::zero(), std::move(fn));
}

std::unique_ptr<Loop::Timer> Loop::Every(Duration period, std::function<void()> fn) {
  return std::make_unique<LoopTimer>(impl_->io, period, std::max<Duration>(period, std::chrono::microseconds(1)),
                                     std::move(fn));
}

void Loop::OnSignals(std::initializer_list<int> signals, std::function<void(int)> fn) {
  struct Waiter {
    static void Wait(asio::signal_set& set, std::shared_ptr<std::function<void(int)>> fn) {
      set.async_wait([&set, fn](const error_code& error, int number) {
        if (error) return;
        (*fn)(number);
        Wait(set, fn);
      });
    }
  };
  auto set = std::make_unique<asio::signal_set>(impl_->io);
  for (const int number : signals) set->add(number);
  Waiter::Wait(*set, std::make_shared<std::function<void(int)>>(std::move(fn)));
  impl_->signals.push_back(std::move(set));
}

MovingDeadline::MovingDeadline(asio::io_context& io, std::function<void()> on_expired)
    : state_(std::make_shared<State>(io)) {
  state_->on_expired = std::move(on_expired);
}

void MovingDeadline::Set(Duration from_now) {
  state_->deadline = std::chrono::steady_clock::now() + from_now;
  if (state_->deadline < state_->armed_for) Arm(state_);
}

void MovingDeadline::Arm(const std::shared_ptr<State>& state) {
  state->armed_for = state->deadline;
  state->timer.expires_at(state->deadline);  // cancels the wait in progress
  state->timer.async_wait([weak = std::weak_ptr<State>(state)](const error_code& error) {
    const std::shared_ptr<State> held = weak.lock();
    if (!error && held != nullptr) Look(held);
  });
}

void MovingDeadline::Look(const std::shared_ptr<State>& state) {
  if (state->armed_for == TimePoint::max() || state->timer.expiry() > std::chrono::steady_clock::now())
    return;  // moved meanwhile
  state->armed_for = TimePoint::max();
  if (state->deadline == TimePoint::max()) return;
  if (state->deadline > std::chrono::steady_clock::now()) return Arm(state);
  state->deadline = TimePoint::max();
  const std::function<void()> on_expired = state->on_expired;  // it may destroy the timer
  on_expired();
}

}  // namespace patella::http
