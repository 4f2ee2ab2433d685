// /metrics, /healthz and /readyz of the operator.
//
// Ready means: the API server serves what we need and the caches are full; not: is leader, else a standby would never be ready and a rollout
// would hang. `/readyz?verbose` lists each check and each cache. Runs an event loop of its own on one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "lib/http/server.h"

namespace patella::controller {

struct HealthHooks {  // thread-safe; called on the health server's thread, so they must not block
  std::function<std::string()> metrics;
  std::function<std::string()> not_ready;  // why not; "" if ready
  std::function<std::string()> describe;   // a line a cache
};

class HealthServer {
 public:
  static absl::StatusOr<std::unique_ptr<HealthServer>> Start(const std::string& host, int port, HealthHooks hooks);
  ~HealthServer();

  std::string address() const { return address_; }

 private:
  explicit HealthServer(HealthHooks hooks) : hooks_(std::move(hooks)) {}
  void Handle(const http::Request& request, http::Exchange& exchange) const;

  const HealthHooks hooks_;
  http::Loop loop_;
  std::unique_ptr<http::Server> server_;
  std::string address_;
  std::thread thread_;
};

}  // namespace patella::controller
