// The engine's own concurrency limit, over its control socket.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace patella::cli {

class EngineLimit {
 public:
  // Unavailable if nobody answers on the socket within two seconds.
  static absl::StatusOr<std::unique_ptr<EngineLimit>> Connect(const std::string& socket_path);
  virtual ~EngineLimit() = default;
  virtual absl::StatusOr<int> Get() = 0;
  virtual absl::Status Set(int max_concurrent_requests) = 0;
};

}  // namespace patella::cli
