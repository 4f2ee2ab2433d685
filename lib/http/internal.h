// What the files of lib/http that use Boost.Asio share. Included by loop.cc, server.cc, connection.cc and client.cc
// only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "lib/http/loop.h"

namespace patella::http {

namespace asio = boost::asio;
using boost::system::error_code;

// The way into a loop from any thread. Outlives the Loop for whoever still holds it; then Post drops what it gets.
class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  explicit Mailbox(asio::io_context& io) : io_(&io) {}

  void Post(std::function<void()> fn);
  void Close();  // by ~Loop: what is waiting is destroyed without being run

 private:
  void Schedule();  // with mutex_ held
  void RunAll();

  std::mutex mutex_;
  asio::io_context* io_;  // null once closed
  bool scheduled_ = false;
  std::vector<std::function<void()>> waiting_;
};

struct Loop::Impl {
  asio::io_context io{1};  // one thread runs it, any thread may post
  std::shared_ptr<Mailbox> mailbox = std::make_shared<Mailbox>(io);
  std::vector<std::unique_ptr<asio::signal_set>> signals;
};

// A deadline that moves often and fires seldom: moving it later costs nothing, because the timer underneath only looks
// again when its old time has come. Fires at most once per Set. The callback must not own what owns the timer (use
// weak_ptr).
class MovingDeadline {
 public:
  MovingDeadline(asio::io_context& io, std::function<void()> on_expired);
  MovingDeadline(const MovingDeadline&) = delete;
  MovingDeadline& operator=(const MovingDeadline&) = delete;

  void Set(Duration from_now);
  void Clear() { state_->deadline = TimePoint::max(); }

 private:
  struct State {
    explicit State(asio::io_context& io) : timer(io) {}
    asio::steady_timer timer;
    std::function<void()> on_expired;
    TimePoint deadline = TimePoint::max();
    TimePoint armed_for = TimePoint::max();  // max: not armed
  };
  static void Arm(const std::shared_ptr<State>& state);
  static void Look(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

}  // namespace patella::http
