// HTTP to the API server behind one interface; the implementation (cpprest_transport.cc) is the only user of
// cpprestsdk.
//
// Threads: one io thread for the whole process, whatever the number of transports. Call blocks and may be used from any
// thread but that one. The callbacks of Stream run on it: they must not block, and must not throw. Everything else may
// be called from anywhere. What may surprise: a request other than POST that finds its kept-alive connection dead is
// sent again by the library, so it may reach the server twice: PUT carries a resourceVersion, PATCH and DELETE are
// idempotent. A POST always goes over a new connection, and so is never repeated.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/kube/credentials.h"

namespace patella::kube {

using Headers = std::vector<std::pair<std::string, std::string>>;
std::string_view FindHeader(const Headers& headers, std::string_view name);  // case does not matter; "" if absent

struct HttpRequest {
  std::string method;
  std::string path;  // from the server's root, encoded, with query: "/api/v1/pods?limit=500"
  Headers headers;   // Authorization among them; Host, Content-Length and Connection are the transport's
  std::string body;
};

struct HttpResponse {
  int status = 0;
  Headers headers;
  std::string body;
};

struct StreamEnd {
  absl::Status status;  // OK: the server ended the stream in good order, or answered with an error status
  HttpResponse error;   // status, headers, and up to 64 KiB of body if the answer was no 200; else status 200
};

// A stream in progress. Destroying it cancels it and gives up its callbacks: they own what they touch.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  virtual void Cancel() = 0;  // returns at once; on_end follows with Cancelled unless it was under way
  virtual void Resume() = 0;  // reads on after a pause
};

struct StreamCallbacks {
  // A line without its line break. False pauses reading once what has arrived is delivered (at most one chunk), until
  // Resume.
  std::function<bool(std::string_view line)> on_line;
  std::function<void(StreamEnd)> on_end;  // once, last
};

class HttpTransport {
 public:
  virtual ~HttpTransport() = default;

  // Any HTTP status is a success here. Errors: ConnectionError (api_error.h). Returns within `timeout`, whatever
  // happens.
  virtual absl::StatusOr<HttpResponse> Call(const HttpRequest& request, Duration timeout) = 0;

  // Calls in progress, and any later ones, end with kCancelled: what they asked for may have been done, or not.
  virtual void EndCalls() = 0;

  // `idle_timeout`: ends with kTimeout if no byte came for that long. A line may be up to 32 MiB.
  virtual std::unique_ptr<HttpStream> Stream(const HttpRequest& request, Duration idle_timeout,
                                             StreamCallbacks callbacks) = 0;
};

struct TransportOptions {
  Duration connect_timeout =
      std::chrono::seconds(30);                        // of name resolution, TCP and TLS together with the first answer
  Duration keepalive_idle = std::chrono::seconds(30);  // then probes every 10 s; unacknowledged data fails after 40 s
  size_t max_body_bytes = size_t{512} << 20;
};

// Call first in main, before any thread: sets the environment that keeps OpenSSL from loading the system's CA bundle
// for every connection (SSL_CERT_FILE, SSL_CERT_DIR), ignores SIGPIPE, and starts the io thread. MakeTransport calls it
// if need be.
void InitTransport();

// Environment of a child process: ours without what InitTransport changed.
std::vector<std::string> EnvironmentForChild();

// `credentials` is asked for TLS material; InvalidArgument if the URL or the certificates cannot be used.
absl::StatusOr<std::unique_ptr<HttpTransport>> MakeTransport(std::shared_ptr<Credentials> credentials,
                                                             TransportOptions options = {});

bool OnIoThread();

}  // namespace patella::kube
