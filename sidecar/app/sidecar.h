// The sidecar put together: proxy, tuner, engine control and admin server on one loop.
//
// BOOT waits for the engine's health, asks it for what it knows, then lets the tuner calibrate; users are let in when it says so.
// Lives on the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/http/loop.h"
#include "sidecar/app/config.h"

namespace patella::sidecar {

class Sidecar {
 public:
  // Binds both addresses (AlreadyExists names the taken one), then works. `on_exit` runs once, with the exit code, when calibration
  // cannot succeed or when a drain is over.
  static absl::StatusOr<std::unique_ptr<Sidecar>> Start(http::Loop& loop, Config config,
                                                        std::function<void(int code)> on_exit);
  virtual ~Sidecar() = default;

  // Takes no more requests and lets the running ones end, within the drain time; then on_exit(0).
  virtual void Drain() = 0;

  virtual int port() const = 0;
  virtual int admin_port() const = 0;
  virtual std::string status_json() = 0;
};

}  // namespace patella::sidecar
