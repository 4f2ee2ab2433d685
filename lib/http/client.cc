#include "lib/http/client.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <deque>
#include <limits>
#include <optional>
#include <utility>

#include "lib/base/text.h"
#include "lib/http/internal.h"
#include "lib/http/syntax.h"

namespace patella::http {
namespace {

namespace beast_http = boost::beast::http;
using asio::ip::tcp;

constexpr size_t kMaxHeaderBytes = 64 << 10;

// Delivers head and body pieces as they are parsed.
class ResponseParser final : public beast_http::basic_parser<false> {
 public:
  ResponseParser(bool is_head, std::function<void(std::string_view)> on_data) : on_data_(std::move(on_data)) {
    header_limit(kMaxHeaderBytes);
    body_limit(std::numeric_limits<uint64_t>::max());  // "none" would refuse every Content-Length in Beast 1.74
    eager(true);
    skip(is_head);
  }

  Response head;

 private:
  using string_view = boost::beast::string_view;

  void on_request_impl(beast_http::verb, string_view, string_view, int, error_code&) override {}
  void on_response_impl(int code, string_view, int, error_code&) override { head.status = code; }
  void on_field_impl(beast_http::field, string_view name, string_view value, error_code& error) override {
    header_bytes_ += name.size() + value.size() + 4;
    if (header_bytes_ > kMaxHeaderBytes) error = beast_http::error::header_limit;
    if (!is_header_done()) head.headers.Add(name, value);
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>&, error_code&) override {}
  size_t on_body_impl(string_view bytes, error_code&) override { return on_data_(bytes), bytes.size(); }
  void on_chunk_header_impl(uint64_t, string_view, error_code&) override {}
  size_t on_chunk_body_impl(uint64_t, string_view bytes, error_code&) override { return on_data_(bytes), bytes.size(); }
  void on_finish_impl(error_code&) override {}

  std::function<void(std::string_view)> on_data_;
  size_t header_bytes_ = 0;
};

// Idle connections to one origin, and what every call needs.
struct Pool {
  Pool(Loop& loop, ClientOptions o) : io(loop.impl().io), mailbox(loop.impl().mailbox), options(std::move(o)) {}

  asio::io_context& io;
  std::shared_ptr<Mailbox> mailbox;
  ClientOptions options;
  bool closed = false;  // the Client is gone
  std::deque<tcp::socket> idle;

  std::string Origin() const {
    return options.host.find(':') == std::string::npos ? StrCat(options.host, ":", options.port)
                                                       : StrCat("[", options.host, "]:", options.port);
  }

  // The connection used last that the server has neither closed nor written to meanwhile.
  std::optional<tcp::socket> Take() {
    while (!idle.empty()) {
      tcp::socket socket = std::move(idle.back());
      idle.pop_back();
      char byte = 0;
      const ssize_t got = recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return socket;
    }
    return std::nullopt;
  }

  void Give(tcp::socket socket) {
    if (closed || options.max_idle_connections <= 0) return;
    if (static_cast<int>(idle.size()) >= options.max_idle_connections) idle.pop_front();
    idle.push_back(std::move(socket));
  }
};

class CallState : public std::enable_shared_from_this<CallState> {
 public:
  CallState(std::shared_ptr<Pool> pool, Request request, CallHandlers handlers)
      : pool_(std::move(pool)),
        handlers_(std::move(handlers)),
        is_head_(request.method == "HEAD"),
        socket_(pool_->io),
        resolver_(pool_->io),
        deadline_(pool_->io, [this] { OnDeadline(); }) {
    invalid_ = CheckRequestLine(request);
    if (invalid_.ok()) invalid_ = CheckHeaders(request.headers);
    if (invalid_.ok()) outgoing_ = Serialize(request);
  }

  void Begin() {
    if (!invalid_.ok()) return EndLater(invalid_);
    if (std::optional<tcp::socket> idle = pool_->Take()) {
      socket_ = std::move(*idle);
      reused_ = true;
      return Exchange();
    }
    Connect();
  }

  void Cancel() {
    if (ended_) return;
    EndLater(absl::CancelledError("the call was cancelled"));
  }
  void Pause() {
    paused_ = true;
    if (stage_ == Stage::kBody) deadline_.Clear();
  }
  void Resume() {
    if (!std::exchange(paused_, false) || ended_) return;
    if (stage_ == Stage::kBody) deadline_.Set(pool_->options.read_timeout);
    ReadMore();
  }

 private:
  enum class Stage { kConnecting, kWaiting, kBody };

  std::string Serialize(const Request& request) const {
    std::string text = StrCat(request.method, " ", request.target, " HTTP/1.1\r\n");
    if (!request.headers.Has("Host")) StrAppend(&text, "Host: ", pool_->Origin(), "\r\n");
    AppendHeaders(request.headers, text);
    if (!request.body.empty() || (request.method != "GET" && request.method != "HEAD")) {
      StrAppend(&text, "Content-Length: ", request.body.size(), "\r\n");
    }
    StrAppend(&text, "\r\n", request.body);
    return text;
  }

  // --- connection ---

  void Connect() {
    reused_ = false;
    stage_ = Stage::kConnecting;
    deadline_.Set(pool_->options.connect_timeout);
    error_code error;
    const asio::ip::address address = asio::ip::make_address(pool_->options.host, error);
    const auto port = static_cast<uint16_t>(pool_->options.port);
    if (!error) {
      endpoints_ = {tcp::endpoint(address, port)};
      return ConnectToAny();
    }
    resolver_.async_resolve(
        pool_->options.host, std::to_string(port),
        [self = shared_from_this()](const error_code& failed, const tcp::resolver::results_type& found) {
          if (self->ended_) return;
          if (failed) return self->Fail(StrCat("cannot resolve the name: ", failed.message()));
          self->endpoints_.assign(found.begin(), found.end());
          self->ConnectToAny();
        });
  }

  void ConnectToAny() {
    socket_ = tcp::socket(pool_->io);
    asio::async_connect(socket_, endpoints_,
                        [self = shared_from_this()](const error_code& error, const tcp::endpoint&) {
                          if (self->ended_) return;
                          if (error) return self->Fail(StrCat("cannot connect: ", error.message()));
                          error_code ignored;
                          self->socket_.set_option(tcp::no_delay(true), ignored);
                          self->socket_.set_option(asio::socket_base::keep_alive(true), ignored);
                          self->Exchange();
                        });
  }

  // Writes the request and reads at the same time: a server may answer (say, 413) before it has read all.
  void Exchange() {
    stage_ = Stage::kWaiting;
    sent_ = false;
    got_byte_ = false;
    in_.clear();
    MakeParser();
    deadline_.Set(pool_->options.first_byte_timeout);
    const int attempt = ++attempt_;
    asio::async_write(socket_, asio::buffer(outgoing_),
                      [self = shared_from_this(), attempt](const error_code& error, size_t) {
                        if (self->ended_ || attempt != self->attempt_) return;
                        if (error) return;  // the read says why, after an answer that may have come first
                        self->sent_ = true;
                        if (self->stage_ == Stage::kWaiting)
                          self->deadline_.Set(self->pool_->options.first_byte_timeout);
                      });
    ReadMore();
  }

  void MakeParser() {
    parser_ = std::make_unique<ResponseParser>(is_head_, [this](std::string_view bytes) {
      DeliverHead();
      if (!ended_ && !bytes.empty() && handlers_.on_data) handlers_.on_data(bytes);
    });
  }

  // --- reading ---

  void ReadMore() {
    if (reading_ || paused_ || ended_) return;
    reading_ = true;
    const int attempt = attempt_;
    socket_.async_read_some(asio::buffer(chunk_),
                            [self = shared_from_this(), attempt](const error_code& error, size_t size) {
                              if (self->ended_ || attempt != self->attempt_) return;
                              self->reading_ = false;
                              self->OnRead(error, size);
                            });
  }

  void OnRead(const error_code& error, size_t size) {
    if (error) return OnReadError(error);
    got_byte_ = true;
    in_.append(chunk_.data(), size);
    if (stage_ == Stage::kBody && !paused_) deadline_.Set(pool_->options.read_timeout);
    while (!in_.empty()) {
      error_code bad;
      const size_t used = parser_->put(asio::buffer(in_), bad);
      if (ended_) return;
      in_.erase(0, used);
      if (bad && bad != beast_http::error::need_more) {
        return Fail(StrCat("sent something that is not HTTP/1.1: ", bad.message()));
      }
      if (parser_->is_done() && parser_->head.status / 100 == 1 && parser_->head.status != 101) {
        MakeParser();  // 100 Continue and the like come before the answer
        continue;
      }
      if (parser_->is_header_done()) DeliverHead();
      if (ended_) return;
      if (parser_->is_done()) return Complete();
      break;
    }
    if (in_.size() > kMaxHeaderBytes) return Fail("sent a chunk header that is too long");
    ReadMore();
  }

  void DeliverHead() {
    if (stage_ == Stage::kBody) return;
    stage_ = Stage::kBody;
    deadline_.Clear();
    if (!paused_) deadline_.Set(pool_->options.read_timeout);
    if (handlers_.on_head) handlers_.on_head(parser_->head);
  }

  void OnReadError(const error_code& error) {
    if (!got_byte_) {
      if (reused_) {  // the server had closed it: not a failure of this request
        error_code ignored;
        socket_.close(ignored);
        reading_ = false;
        ++attempt_;
        return Connect();
      }
      return Fail(StrCat("closed the connection before it answered: ", error.message()));
    }
    if (error == asio::error::eof && parser_->is_header_done() && parser_->need_eof()) {
      error_code bad;
      parser_->put_eof(bad);
      if (!bad) return End(absl::OkStatus());
    }
    Fail(StrCat("broke off its answer: ", error.message()));
  }

  void Complete() {
    const bool reusable = parser_->keep_alive() && sent_ && in_.empty();
    deadline_.Clear();
    if (reusable) pool_->Give(std::move(socket_));
    End(absl::OkStatus());
  }

  // --- ends ---

  void OnDeadline() {
    const std::shared_ptr<CallState> self = shared_from_this();
    switch (stage_) {
      case Stage::kConnecting:
        return End(absl::DeadlineExceededError(
            StrCat(pool_->Origin(), ": no connection within ", Seconds(pool_->options.connect_timeout), " s")));
      case Stage::kWaiting:
        return End(absl::DeadlineExceededError(
            StrCat(pool_->Origin(), ": no answer within ", Seconds(pool_->options.first_byte_timeout), " s")));
      case Stage::kBody:
        return End(absl::DeadlineExceededError(
            StrCat(pool_->Origin(), ": nothing more of the answer for ", Seconds(pool_->options.read_timeout), " s")));
    }
  }

  void Fail(std::string_view what) { End(absl::UnavailableError(StrCat(pool_->Origin(), " ", what))); }

  void CloseAll() {
    ended_ = true;
    deadline_.Clear();
    resolver_.cancel();
    error_code ignored;
    socket_.close(ignored);
  }

  void End(const absl::Status& status) {
    if (ended_) return;
    const std::shared_ptr<CallState> self = shared_from_this();
    CloseAll();
    const CallHandlers handlers = std::exchange(handlers_, {});
    if (handlers.on_done) handlers.on_done(status);
  }

  // Never inside the caller's own call. The handlers stay where they are until then: this may be one of them.
  void EndLater(const absl::Status& status) {
    CloseAll();
    pool_->mailbox->Post([self = shared_from_this(), status] {
      const CallHandlers handlers = std::exchange(self->handlers_, {});
      if (handlers.on_done) handlers.on_done(status);
    });
  }

  const std::shared_ptr<Pool> pool_;
  CallHandlers handlers_;
  const bool is_head_;
  absl::Status invalid_;
  std::string outgoing_;
  tcp::socket socket_;
  tcp::resolver resolver_;
  std::vector<tcp::endpoint> endpoints_;
  MovingDeadline deadline_;
  std::unique_ptr<ResponseParser> parser_;
  std::array<char, 16384> chunk_;
  std::string in_;
  Stage stage_ = Stage::kConnecting;
  int attempt_ = 0;      // operations of an earlier connection are ignored
  bool reused_ = false;  // the connection comes from the pool
  bool sent_ = false;
  bool got_byte_ = false;
  bool reading_ = false;
  bool paused_ = false;
  bool ended_ = false;
};

// A paused call has no operation pending, so somebody must hold its state: the handle does, weakly held by no one else.
class StrongCall final : public Call {
 public:
  explicit StrongCall(std::shared_ptr<CallState> state) : state_(std::move(state)) {}
  void Cancel() override { state_->Cancel(); }
  void Pause() override { state_->Pause(); }
  void Resume() override { state_->Resume(); }

 private:
  std::shared_ptr<CallState> state_;
};

class PoolingClient final : public Client {
 public:
  PoolingClient(Loop& loop, ClientOptions options) : pool_(std::make_shared<Pool>(loop, std::move(options))) {}
  ~PoolingClient() override {
    pool_->closed = true;
    pool_->idle.clear();
  }

  std::shared_ptr<Call> Start(Request request, CallHandlers handlers) override {
    const auto state = std::make_shared<CallState>(pool_, std::move(request), std::move(handlers));
    state->Begin();
    return std::make_shared<StrongCall>(state);
  }

 private:
  std::shared_ptr<Pool> pool_;
};

}  // namespace

std::unique_ptr<Client> Client::Create(Loop& loop, ClientOptions options) {
  return std::make_unique<PoolingClient>(loop, std::move(options));
}

}  // namespace patella::http
