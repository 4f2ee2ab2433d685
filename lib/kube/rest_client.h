// Client against an API server.
//
// Repeats what the server asks to repeat: 429 and 5xx with Retry-After, up to 10 times; and a 401 once, with fresh
// credentials. Not limited in rate (the server's priority and fairness is), but in the number of calls in progress.
// Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/kube/client.h"
#include "lib/kube/credentials.h"
#include "lib/kube/transport.h"
#include "lib/metrics/metrics.h"

namespace patella::kube {

struct RestClientOptions {
  std::string user_agent = "patella";                // "patella-operator/0.1.0 (linux/amd64)"
  std::string field_manager = "patella";             // of writes that name none
  Duration call_timeout = std::chrono::seconds(30);  // of one attempt
  Duration total_timeout = std::chrono::minutes(2);  // of a call with its repetitions
  int max_retries = 10;
  int max_concurrent_calls = 16;
  // Asked right before each attempt of a writing request is sent; false ends it with FailedPrecondition. For leaders:
  // see lease.h.
  std::function<bool()> may_write;
  metrics::Metrics* metrics = nullptr;  // rest_client_requests_total
};

class RestClient final : public Client {
 public:
  // The transport, clock and metrics outlive the client.
  RestClient(HttpTransport* transport, std::shared_ptr<Credentials> credentials, const Clock& clock,
             RestClientOptions options = {});
  ~RestClient() override;

  // Ends calls on the wire and pauses between repetitions, and refuses further calls, with Cancelled. Watches go on.
  void Close();

  absl::StatusOr<ObjectPtr> Get(const Resource& resource, std::string_view namespace_name,
                                std::string_view name) override;
  absl::StatusOr<ListPage> List(const Resource& resource, const ListOptions& options) override;
  std::unique_ptr<WatchStream> Watch(const Resource& resource, const WatchOptions& options) override;
  absl::StatusOr<ObjectPtr> Create(const Resource& resource, std::string_view namespace_name, std::string_view body,
                                   const WriteOptions& options = {}) override;
  absl::StatusOr<ObjectPtr> Update(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                   std::string_view body, const WriteOptions& options = {}) override;
  absl::StatusOr<ObjectPtr> Apply(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                  std::string_view body, const ApplyOptions& options) override;
  absl::StatusOr<ObjectPtr> MergePatch(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                       std::string_view body, const WriteOptions& options = {}) override;
  absl::Status Delete(const Resource& resource, std::string_view namespace_name, std::string_view name,
                      const DeleteOptions& options = {}) override;
  absl::StatusOr<Scale> GetScale(const Resource& resource, std::string_view namespace_name,
                                 std::string_view name) override;
  absl::StatusOr<Scale> SetScale(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                 int replicas, std::string_view resource_version = "",
                                 const WriteOptions& options = {}) override;

  // Any path, e.g. GET /version or /readyz: the answer's body if it is 2xx.
  absl::StatusOr<std::string> Raw(const std::string& method, const std::string& path, const std::string& body = "");

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // watches in progress hold it too
};

// Everything that a program needs to speak to the API server of LoadAccess(kubeconfig), in the right order of
// destruction.
struct Connection {
  std::shared_ptr<Credentials> credentials;
  std::unique_ptr<HttpTransport> transport;
  std::unique_ptr<RestClient> client;
};
absl::StatusOr<Connection> Connect(std::string_view kubeconfig, const Clock& clock, RestClientOptions options = {});

}  // namespace patella::kube
