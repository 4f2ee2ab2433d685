// The gRPC control channel to a Patella engine beside us, on its Unix socket: exact capacity, live limits, step statistics.
//
// Two threads of its own do the blocking calls; every callback is posted to the Loop. An engine without the socket (another maker's, or
// one that restarts) is no error: calls are retried every second until they work, and the newest limit is sent again after a
// reconnect.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "lib/http/loop.h"

namespace patella::sidecar {

struct EngineInfo {
  std::string model;
  std::string version;
  int64_t kv_capacity_tokens = 0;  // 0: unknown
  int max_total_tokens = 0;
  int max_concurrent_requests = 0;
};

struct EngineStats {
  int running = 0;
  int waiting = 0;
  int64_t kv_tokens_used = 0;
  int64_t kv_tokens_capacity = 0;
  double last_step_ms = 0;
};

struct ControlEvents {
  std::function<void(const EngineInfo&)> on_info;                                   // once a connection
  std::function<void(const EngineStats&)> on_stats;                                 // about twice a second
  std::function<void(uint64_t generation, int max_concurrent_requests)> on_limits;  // taken over by the engine
  std::function<void(const std::string& why)> on_lost;
};

class EngineControl {
 public:
  // `socket_path`: as in CONTROL_SOCKET, without "unix:".
  static std::unique_ptr<EngineControl> Start(http::Loop& loop, std::string socket_path, ControlEvents events);
  virtual ~EngineControl() =
      default;  // on the loop's thread (or when it no longer runs); joins the threads; no callback runs afterwards

  // The engine's own limit follows. Returns at once; on_limits says when it is in force.
  virtual void SetMaxConcurrentRequests(int limit) = 0;
};

}  // namespace patella::sidecar
