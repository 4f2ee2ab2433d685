// A streaming HTTP/1.1 server with limits on everything a client could use to hurt it.
//
// One Loop thread runs accept, parsing, handlers and writes. A handler gets the whole request (body included, bounded)
// and an Exchange, which it answers at once or later, from any thread, in one piece or as a stream. Pipelined requests
// are answered in order; keep-alive connections idle longer than idle_timeout are closed. A client that half-closes or
// resets is noticed while its answer is being produced, even when nothing is being written: OnClose fires.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/http/loop.h"
#include "lib/http/message.h"

namespace patella::http {

// One request's answer. Thread-safe: calls are posted to the loop. Exactly one of Send, or StartStream … Finish/Abort,
// is used; anything after the client has gone is ignored. If the last reference goes before an answer was begun, 500 is
// sent.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual void Send(Response response) = 0;

  virtual void StartStream(int status, Headers headers) = 0;  // chunked transfer encoding; head is flushed at once
  virtual void Write(std::string bytes) = 0;  // forwarded as it comes, never coalesced beyond what is queued
  virtual void Finish() = 0;                  // ends the body; the connection may be reused
  virtual void Abort() = 0;                   // resets the connection: the client sees a broken stream

  // fn runs once on the loop's thread when the client disconnects before the answer is complete. At once if it already
  // has.
  virtual void OnClose(std::function<void()> fn) = 0;
  // fn runs once on the loop's thread when the answer has been handed to the kernel completely or the client has gone:
  // whatever was held for this request can be released. Runs after OnClose's.
  virtual void OnDone(std::function<void()> fn) = 0;

  // Back-pressure: bytes written but not yet taken by the kernel, and a callback (on the loop's thread) each time they
  // fall to zero.
  virtual size_t pending_bytes() const = 0;
  virtual void OnDrain(std::function<void()> fn) = 0;
};

using Handler = std::function<void(Request, std::shared_ptr<Exchange>)>;  // runs on the loop's thread; must not block

struct ServerOptions {
  std::string address = "127.0.0.1";                   // numeric; "0.0.0.0" or "::" for all
  int port = 0;                                        // 0: chosen by the kernel, see Server::port
  size_t max_header_bytes = 32 << 10;                  // else 431
  size_t max_body_bytes = 4 << 20;                     // else 413
  int max_connections = 4096;                          // else accepted and answered 503 at once
  Duration header_timeout = std::chrono::seconds(10);  // from first byte to end of body: else 408
  Duration idle_timeout = std::chrono::seconds(75);    // keep-alive
  Duration write_timeout = std::chrono::seconds(30);   // no progress in writing: reset
};

class Server {
 public:
  // Binds and listens. AlreadyExists names a taken address and what to do about it.
  static absl::StatusOr<std::unique_ptr<Server>> Listen(Loop& loop, ServerOptions options, Handler handler);
  virtual ~Server() = default;  // on the loop's thread, or after Run has returned; closes all connections

  virtual int port() const = 0;
  virtual std::string address() const = 0;  // "127.0.0.1:8080"
  virtual int open_connections() const = 0;
  virtual void StopAccepting() = 0;  // drain: exchanges in progress go on, keep-alive ends after each
};

}  // namespace patella::http
