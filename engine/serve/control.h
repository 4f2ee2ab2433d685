// gRPC EngineControl on a Unix socket: exact capacity, live limits, step statistics.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/serve/engine_loop.h"
#include "engine/serve/service.h"

namespace patella::engine {

// Runs on gRPC's own threads; `engine` must outlive it.
class ControlServer {
 public:
  // Replaces a socket that a dead process left at `path`. Unavailable names the path if it cannot listen.
  static absl::StatusOr<std::unique_ptr<ControlServer>> Listen(const std::string& path, EngineLoop& engine,
                                                               const ServiceOptions& options);
  virtual ~ControlServer() = default;  // ends the streams in progress
};

}  // namespace patella::engine
