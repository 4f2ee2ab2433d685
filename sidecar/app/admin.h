// The admin port: health, readiness, metrics, the status page and its JSON, drain, and the engine's probes and metrics passed through.
//
// Lives on the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/http/client.h"
#include "lib/http/server.h"

namespace patella::sidecar {

struct AdminHooks {
  std::function<std::string()> status_json;
  std::function<std::string()> metrics;
  std::function<bool()> ready;           // users are admitted
  std::function<bool()> started;         // the engine that runs now has been healthy
  std::function<bool()> engine_healthy;  // now
  std::function<void()> begin_drain;
  std::function<bool()> idle;  // nothing in flight, or nothing that could still end well
  Duration drain_timeout = std::chrono::seconds(120);
  http::ClientOptions engine;
  std::string engine_metrics_path;
};

class Admin {
 public:
  Admin(http::Loop& loop, AdminHooks hooks);

  void Handle(http::Request request, std::shared_ptr<http::Exchange> exchange);

 private:
  void Drain(const std::shared_ptr<http::Exchange>& exchange);
  void PassEngineMetrics(const std::shared_ptr<http::Exchange>& exchange);

  http::Loop& loop_;
  const AdminHooks hooks_;
  std::unique_ptr<http::Client> client_;
};

}  // namespace patella::sidecar
