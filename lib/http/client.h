// A streaming HTTP/1.1 client with keep-alive pooling for one origin.
//
// Threading: everything happens on the Loop's thread. A reused connection that fails before the first byte of the
// answer is retried once on a fresh one (servers close idle connections at any time); after a byte of the answer it
// never is.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/http/loop.h"
#include "lib/http/message.h"

namespace patella::http {

struct Url {
  std::string host;  // name or address; only http:// is spoken
  int port = 80;
  std::string path = "/";
};
absl::StatusOr<Url> ParseUrl(std::string_view text);

struct CallHandlers {
  std::function<void(const Response& head)> on_head;    // status and headers, body empty; once
  std::function<void(std::string_view bytes)> on_data;  // body bytes as they come, chunked encoding removed
  std::function<void(const absl::Status& status)>
      on_done;  // exactly once, last: OK, Unavailable (no connection, or broken
                // off), DeadlineExceeded, Cancelled (only after Cancel)
};

// A call in flight. Dropping it lets it go on; Cancel closes the connection at once, after which only
// on_done(Cancelled) runs (posted, never inside Cancel).
class Call {
 public:
  virtual ~Call() = default;
  virtual void Cancel() = 0;
  virtual void Pause() = 0;  // stop reading the body: back-pressure reaches the server
  virtual void Resume() = 0;
};

struct ClientOptions {
  std::string host = "127.0.0.1";
  int port = 80;
  int max_idle_connections = 64;
  Duration connect_timeout = std::chrono::seconds(5);
  Duration first_byte_timeout = std::chrono::seconds(300);  // from request sent to head
  Duration read_timeout = std::chrono::seconds(300);        // between two reads of the body (not while paused)
};

class Client {
 public:
  static std::unique_ptr<Client> Create(Loop& loop, ClientOptions options);
  virtual ~Client() = default;  // cancels nothing: calls in flight finish on their own

  // Host, Content-Length and Connection are added. No limit on the number of calls in flight.
  virtual std::shared_ptr<Call> Start(Request request, CallHandlers handlers) = 0;
};

// Reads a small answer whole, blocking the calling thread with a loop of its own. For tools and tests, not for servers.
absl::StatusOr<Response> Fetch(std::string_view url, Request request = {}, Duration timeout = std::chrono::seconds(10));

// Splits a text/event-stream into events, whatever the chunk borders. on_event gets the value of
// the event's data lines joined by '\n'. An event larger than max_bytes is reported by Feed as ResourceExhausted.
class SseParser {
 public:
  explicit SseParser(std::function<void(std::string_view data)> on_event, size_t max_bytes = 1 << 20);
  absl::Status Feed(std::string_view bytes);

 private:
  void TakeLine(std::string_view line);

  std::function<void(std::string_view)> on_event_;
  size_t max_bytes_;
  std::string buffer_;  // the line in progress
  std::string data_;    // the event in progress
  bool has_data_ = false;
  bool after_carriage_return_ = false;
};

}  // namespace patella::http
