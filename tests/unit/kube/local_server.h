// A server of this process in an API server's place: it answers as a test says, and keeps what it was asked.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/clock.h"
#include "lib/http/server.h"
#include "lib/kube/kubeconfig.h"

namespace patella::kube {

class LocalServer {
 public:
  struct Asked {
    std::string method, target, authorization;
    TimePoint at;
  };
  // `answer` gets each request and how many were before it; it runs on the server's thread.
  using Answer = std::function<http::Response(const Asked& asked, size_t before)>;
  // The same for answers that come in pieces, or break off.
  using Serve = std::function<void(const Asked& asked, size_t before, std::shared_ptr<http::Exchange> exchange)>;

  explicit LocalServer(Answer answer)
      : LocalServer(Serve([answer = std::move(answer)](const Asked& asked, size_t before, const auto& exchange) {
          exchange->Send(answer(asked, before));
        })) {}
  explicit LocalServer(Serve serve) : serve_(std::move(serve)) {
    server_ = *http::Server::Listen(
        loop_, {}, [this](const http::Request& request, const std::shared_ptr<http::Exchange>& exchange) {
          Asked asked{request.method, request.target, std::string(request.headers.Get("Authorization")),
                      std::chrono::steady_clock::now()};
          size_t before = 0;
          {
            const std::lock_guard lock(mutex_);
            before = asked_.size();
            asked_.push_back(asked);
          }
          serve_(asked, before, exchange);
        });
    port_ = server_->port();
    thread_ = std::thread([this] { loop_.Run(); });
  }
  ~LocalServer() {
    loop_.Stop();
    thread_.join();
    server_.reset();
  }

  ClusterAccess access() const {
    ClusterAccess access;
    access.server = "http://127.0.0.1:" + std::to_string(port_);
    access.source = "the test";
    return access;
  }
  std::vector<Asked> asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  const Serve serve_;
  http::Loop loop_;
  std::unique_ptr<http::Server> server_;
  int port_ = 0;
  mutable std::mutex mutex_;
  std::vector<Asked> asked_;
  std::thread thread_;
};

}  // namespace patella::kube
