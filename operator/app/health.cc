#include "operator/app/health.h"

#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::controller {
namespace {

http::Response Text(int status, std::string body) {
  http::Response response{.status = status, .body = std::move(body)};
  response.headers.Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
  response.headers.Set("Cache-Control", "no-store");
  return response;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HealthServer>> HealthServer::Start(const std::string& host, int port,
                                                                  HealthHooks hooks) {
  std::unique_ptr<HealthServer> health(new HealthServer(std::move(hooks)));
  HealthServer* self = health.get();
  PATELLA_ASSIGN_OR_RETURN(
      health->server_, http::Server::Listen(health->loop_, {.address = host, .port = port, .max_connections = 64},
                                            [self](http::Request request, std::shared_ptr<http::Exchange> exchange) {
                                              self->Handle(request, *exchange);
                                            }));
  health->address_ = health->server_->address();
  health->thread_ = std::thread([self] { self->loop_.Run(); });
  return health;
}

HealthServer::~HealthServer() {
  loop_.Stop();
  if (thread_.joinable()) thread_.join();
}

void HealthServer::Handle(const http::Request& request, http::Exchange& exchange) const {
  if (request.method != "GET" && request.method != "HEAD") return exchange.Send(Text(405, "only GET here\n"));
  const std::string_view path = request.path();
  const bool verbose = request.target.find("?verbose") != std::string::npos;
  if (path == "/healthz") return exchange.Send(Text(200, "ok\n"));
  if (path == "/metrics") return exchange.Send(Text(200, hooks_.metrics()));
  if (path == "/readyz") {
    const std::string why = hooks_.not_ready();
    std::string body = why.empty() ? "ok\n" : StrCat("not ready: ", why, "\n");
    if (verbose) body += hooks_.describe();
    return exchange.Send(Text(why.empty() ? 200 : 503, std::move(body)));
  }
  exchange.Send(Text(404, "here are /metrics, /healthz and /readyz (?verbose)\n"));
}

}  // namespace patella::controller
