// One accepted connection: parses requests, hands them to the handler one at a time, writes the answers. Internal to
// lib/http.
//
// Always one read is armed, also while an answer is produced, so that a client that leaves is noticed at once; bytes of
// pipelined requests wait in in_. All on the loop's thread, but for the atomics of ExchangeState.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/error_kind.h"
#include "lib/http/internal.h"
#include "lib/http/server.h"

namespace patella::http {

using asio::ip::tcp;
class Connection;
class RequestParser;

// What a Server shares with its connections; they may outlive it until their last operation has been cancelled.
struct ServerCore {
  ServerCore(Loop& loop, ServerOptions o, Handler h)
      : io(loop.impl().io),
        mailbox(loop.impl().mailbox),
        options(std::move(o)),
        handler(std::move(h)),
        acceptor(io),
        retry(io) {}

  asio::io_context& io;
  std::shared_ptr<Mailbox> mailbox;
  ServerOptions options;
  Handler handler;
  tcp::acceptor acceptor;
  asio::steady_timer retry;  // after a failed accept
  bool draining = false;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
};

// One request's answer as Connection and Exchange see it. Only the atomics may be touched off the loop's thread.
struct ExchangeState {
  Connection* connection = nullptr;  // null once over
  bool over = false;
  bool client_left = false;
  std::vector<std::function<void()>> on_close;
  std::vector<std::function<void()>> on_done;
  std::function<void()> on_drain;
  std::atomic<size_t> posted_bytes{0};    // written by the user, not yet seen by the connection
  std::atomic<size_t> buffered_bytes{0};  // with the connection, not yet taken by the kernel
  std::atomic<bool> ignores_writes{false};

  void End(bool left);   // runs the callbacks that are due and drops the others
  void DropCallbacks();  // without running them
};

std::shared_ptr<Exchange> MakeExchange(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<ExchangeState> state);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<ServerCore> core, tcp::socket socket);
  ~Connection();

  void Start();
  void StartRejected();   // over max_connections: 503 and out
  void Drain();           // closes if idle, else after the answer in progress
  void CloseForServer();  // ~Server: callbacks are posted

  // The answer's steps, called by Exchange for the current exchange only.
  void Send(Response response);
  void StartStream(int status, const Headers& headers);
  void Write(std::string_view bytes);
  void Finish();
  void Abort();
  void HandleDropped();

 private:
  enum class Phase { kIdle, kReading, kAnswering, kLingering, kClosed };

  void ReadMore();
  void OnRead(const error_code& error, size_t size);
  void WatchForHangUp();
  void Advance();
  bool ParseSome();
  bool CheckHead();
  void Dispatch();
  void Refuse(ErrorKind kind, int status, std::string_view message);
  void AppendHead(int status, const Headers& headers, std::optional<size_t> content_length);
  void Flush();
  void WriteSome();
  void OnWritten(const error_code& error, size_t size);
  void OnFlushed();
  void EndAnswer();
  void Linger();
  void OnDeadline();
  void Close(bool client_left, bool reset = false);

  std::shared_ptr<ServerCore> core_;
  tcp::socket socket_;
  std::string peer_;
  MovingDeadline deadline_;
  std::unique_ptr<MovingDeadline> hang_up_watch_;
  Phase phase_ = Phase::kIdle;

  std::array<char, 16384> chunk_;
  std::string in_;
  bool reading_ = false;
  size_t lingered_bytes_ = 0;
  std::unique_ptr<RequestParser> parser_;
  bool head_checked_ = false;

  std::shared_ptr<ExchangeState> exchange_;
  bool answer_begun_ = false;
  bool answer_ended_ = false;
  bool keep_alive_ = true;
  bool http_1_1_ = true;
  bool is_head_ = false;
  bool chunked_ = false;
  bool no_body_ = false;
  std::string out_;      // waits for the write in progress
  std::string writing_;  // in progress
  size_t written_ = 0;
  bool write_armed_ = false;
};

}  // namespace patella::http
