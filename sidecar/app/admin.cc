#include "sidecar/app/admin.h"

#include <utility>

#include "sidecar/app/page.h"

namespace patella::sidecar {
namespace {

http::Response Text(int status, std::string body, std::string_view type = "text/plain; charset=utf-8") {
  http::Response response{.status = status, .body = std::move(body)};
  response.headers.Set("Content-Type", type);
  response.headers.Set("Cache-Control", "no-store");
  return response;
}

http::Response Verdict(bool good, std::string_view otherwise) {
  return good ? Text(200, "ok\n") : Text(503, std::string(otherwise) + "\n");
}

}  // namespace

Admin::Admin(http::Loop& loop, AdminHooks hooks)
    : loop_(loop), hooks_(std::move(hooks)), client_(http::Client::Create(loop, hooks_.engine)) {}

void Admin::Handle(http::Request request, std::shared_ptr<http::Exchange> exchange) {
  const std::string_view path = request.path();
  if (path == "/drain") return Drain(exchange);
  if (request.method != "GET" && request.method != "HEAD") {
    http::Response refused = Text(405, "only GET here\n");
    refused.headers.Set("Allow", "GET, HEAD");
    return exchange->Send(std::move(refused));
  }
  if (path == "/") return exchange->Send(Text(200, std::string(StatusPage()), "text/html; charset=utf-8"));
  if (path == "/status.json") return exchange->Send(Text(200, hooks_.status_json(), "application/json"));
  if (path == "/metrics")
    return exchange->Send(Text(200, hooks_.metrics(), "text/plain; version=0.0.4; charset=utf-8"));
  if (path == "/healthz") return exchange->Send(Text(200, "ok\n"));
  if (path == "/readyz") return exchange->Send(Verdict(hooks_.ready(), "not ready: see /status.json"));
  if (path == "/engine/startupz")
    return exchange->Send(Verdict(hooks_.started(), "the engine has not been healthy yet"));
  if (path == "/engine/livez") {
    // Before the first success only the startup probe judges; a live probe must not kill an engine that still loads.
    return exchange->Send(
        Verdict(!hooks_.started() || hooks_.engine_healthy(), "the engine does not answer its health check"));
  }
  if (path == "/engine/metrics" && !hooks_.engine_metrics_path.empty()) return PassEngineMetrics(exchange);
  exchange->Send(
      Text(404, "here are /, /status.json, /metrics, /healthz, /readyz, /drain, /engine/{startupz,livez,metrics}\n"));
}

void Admin::Drain(const std::shared_ptr<http::Exchange>& exchange) {
  hooks_.begin_drain();
  struct Waiting {
    std::unique_ptr<http::Loop::Timer> timer;
  };
  const auto waiting = std::make_shared<Waiting>();
  const TimePoint deadline = loop_.Now() + hooks_.drain_timeout;
  exchange->OnClose([waiting] { waiting->timer.reset(); });
  waiting->timer =
      loop_.Every(std::chrono::milliseconds(50), [this, exchange, deadline, weak = std::weak_ptr<Waiting>(waiting)] {
        const bool idle = hooks_.idle();
        if (!idle && loop_.Now() < deadline) return;
        exchange->Send(Text(200, idle ? "drained\n" : "deadline: requests are still running\n"));
        loop_.Post([weak] {  // a timer must not destroy itself while it runs
          if (const auto w = weak.lock()) w->timer.reset();
        });
      });
}

void Admin::PassEngineMetrics(const std::shared_ptr<http::Exchange>& exchange) {
  http::Request request;
  request.target = hooks_.engine_metrics_path;
  const auto answer = std::make_shared<http::Response>();
  http::CallHandlers handlers;
  handlers.on_head = [answer](const http::Response& head) {
    *answer = Text(head.status, "", head.headers.Get("Content-Type"));
  };
  handlers.on_data = [answer](std::string_view bytes) { answer->body.append(bytes); };
  handlers.on_done = [answer, exchange](const absl::Status& status) {
    exchange->Send(status.ok() ? *answer : Text(503, "the engine does not answer\n"));
  };
  client_->Start(std::move(request), std::move(handlers));
}

}  // namespace patella::sidecar
