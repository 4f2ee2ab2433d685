// Waits for the engine to become healthy, learns what it says about itself over HTTP, and then keeps an eye on its health.
//
// Lives on the loop's thread; never blocks.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/adapters/discover.h"
#include "lib/http/loop.h"

namespace patella::sidecar {

struct EngineWatchEvents {
  std::function<void(const std::string& message)> on_waiting;  // each failed attempt before the first success
  std::function<void(const adapters::Discovery&)> on_ready;    // once: healthy, and asked
  std::function<void(const std::string& why)> on_missing;      // once: not healthy within the time allowed
  std::function<void(bool healthy)> on_health;                 // each change after on_ready
};

class EngineWatch {
 public:
  // `target`: kind, host, port, prefix; its model may be empty and is then filled in from what the engine says.
  EngineWatch(http::Loop& loop, adapters::EngineTarget target, Duration start_timeout, EngineWatchEvents events);
  ~EngineWatch();
  EngineWatch(const EngineWatch&) = delete;
  EngineWatch& operator=(const EngineWatch&) = delete;

  bool healthy() const;
  // The engine that listens now has been healthy. False while one that ended is replaced by another, which may take minutes to load: a
  // liveness probe must let it. An engine that hangs stays started, and is not healthy.
  bool started() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace patella::sidecar
