#include "lib/http/connection.h"

#include <poll.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>

#include "lib/base/logging.h"
#include "lib/base/text.h"
#include "lib/http/request_parser.h"
#include "lib/http/syntax.h"

namespace patella::http {

namespace beast_http = boost::beast::http;

constexpr size_t kPipelineBytes = 64 << 10;  // of later requests kept while an answer is produced
constexpr size_t kLingerBytes = 1 << 20;     // read and thrown away after an answer that closes
constexpr Duration kLingerTime = std::chrono::seconds(2);
constexpr Duration kHangUpPoll = std::chrono::milliseconds(500);

Connection::Connection(std::shared_ptr<ServerCore> core, tcp::socket socket)
    : core_(std::move(core)), socket_(std::move(socket)), deadline_(core_->io, [this] { OnDeadline(); }) {
  error_code error;
  socket_.set_option(tcp::no_delay(true), error);
  socket_.set_option(asio::socket_base::keep_alive(true), error);
  const tcp::endpoint peer = socket_.remote_endpoint(error);
  if (!error) {
    const std::string address = peer.address().to_string();
    peer_ = peer.address().is_v6() ? StrCat("[", address, "]:", peer.port()) : StrCat(address, ":", peer.port());
  }
}

Connection::~Connection() {
  if (exchange_ != nullptr) exchange_->DropCallbacks();
}

void Connection::Start() {
  deadline_.Set(core_->options.idle_timeout);
  ReadMore();
}

void Connection::StartRejected() {
  Refuse(ErrorKind::kUnavailable, 503, "Too many connections: try again later");
  ReadMore();
}

void Connection::Drain() {
  keep_alive_ = false;
  if (phase_ == Phase::kIdle && in_.empty()) Close(false);
}

// --- reading ---

void Connection::ReadMore() {
  if (reading_ || phase_ == Phase::kClosed) return;
  if (phase_ == Phase::kAnswering && in_.size() >= kPipelineBytes) return WatchForHangUp();
  reading_ = true;
  socket_.async_read_some(asio::buffer(chunk_), [self = shared_from_this()](const error_code& error, size_t size) {
    self->reading_ = false;
    if (self->phase_ != Phase::kClosed) self->OnRead(error, size);
  });
}

// With enough pipelined bytes at hand nothing is read, so a client that leaves shows only in the socket's state.
void Connection::WatchForHangUp() {
  if (hang_up_watch_ == nullptr) {
    hang_up_watch_ = std::make_unique<MovingDeadline>(core_->io, [this] {
      const std::shared_ptr<Connection> self = shared_from_this();
      if (phase_ != Phase::kAnswering || reading_) return;
      pollfd state{socket_.native_handle(), POLLRDHUP, 0};
      if (poll(&state, 1, 0) > 0) return Close(true);
      hang_up_watch_->Set(kHangUpPoll);
    });
  }
  hang_up_watch_->Set(kHangUpPoll);
}

void Connection::OnRead(const error_code& error, size_t size) {
  if (error) return Close(true);
  if (phase_ == Phase::kLingering) {
    lingered_bytes_ += size;
    if (lingered_bytes_ > kLingerBytes) return Close(false);
    return ReadMore();
  }
  in_.append(chunk_.data(), size);
  Advance();
  ReadMore();
}

void Connection::Advance() {
  while (phase_ == Phase::kIdle || phase_ == Phase::kReading) {
    if (phase_ == Phase::kIdle) {
      while (in_.starts_with("\r\n")) in_.erase(0, 2);  // some clients end a body with one
      if (in_.empty() || in_ == "\r") return;
      phase_ = Phase::kReading;
      parser_ = std::make_unique<RequestParser>(core_->options);
      head_checked_ = false;
      deadline_.Set(core_->options.header_timeout);
    }
    if (!ParseSome()) return;
  }
}

// False if more bytes are needed or the request was refused.
bool Connection::ParseSome() {
  if (in_.empty()) return false;
  error_code error;
  const size_t consumed = parser_->put(asio::buffer(in_), error);
  in_.erase(0, consumed);
  if (error && error != beast_http::error::need_more) {
    if (error == beast_http::error::header_limit) {
      Refuse(ErrorKind::kTooLarge, 431,
             StrCat("The header is larger than ", core_->options.max_header_bytes, " bytes"));
    } else if (error == beast_http::error::body_limit) {
      Refuse(ErrorKind::kTooLarge, 413, StrCat("The body is larger than ", core_->options.max_body_bytes, " bytes"));
    } else {
      Refuse(ErrorKind::kBadRequest, 400, StrCat("This is not HTTP/1.1: ", error.message()));
    }
    return false;
  }
  if (parser_->is_header_done() && !std::exchange(head_checked_, true) && !CheckHead()) return false;
  if (parser_->is_done()) {
    Dispatch();
    return true;
  }
  // Chunk headers and trailers have no limit of their own in the parser.
  if (in_.size() > core_->options.max_header_bytes) Refuse(ErrorKind::kBadRequest, 400, "A chunk header is too long");
  return false;
}

bool Connection::CheckHead() {
  Request& request = parser_->request;
  const auto refuse = [&](std::string_view why) { return Refuse(ErrorKind::kBadRequest, 400, why), false; };
  if (parser_->version == 11 && parser_->host_fields != 1) return refuse("A request needs exactly one Host header");
  if (parser_->odd_encoding) return refuse("Transfer-Encoding must be chunked");
  if (parser_->version == 10 && parser_->chunked()) return refuse("HTTP/1.0 has no Transfer-Encoding");
  if (StartsWithIgnoringCase(request.target, "http://")) {
    const size_t slash = request.target.find('/', 7);
    request.target = slash == std::string::npos ? "/" : request.target.substr(slash);
  }
  const bool is_asterisk = request.target == "*" && request.method == "OPTIONS";
  if (!is_asterisk && !request.target.starts_with('/')) return refuse("The request's target must begin with /");
  const std::string_view expect = request.headers.Get("Expect");
  if (!expect.empty() && parser_->version == 11) {
    if (!EqualsIgnoringCase(expect, "100-continue")) {
      Refuse(ErrorKind::kBadRequest, 417, "Only Expect: 100-continue is understood");
      return false;
    }
    if (!parser_->is_done()) {
      out_ += "HTTP/1.1 100 Continue\r\n\r\n";
      Flush();
    }
  }
  return true;
}

void Connection::Dispatch() {
  phase_ = Phase::kAnswering;
  deadline_.Clear();
  const std::unique_ptr<RequestParser> parser = std::move(parser_);
  Request request = std::move(parser->request);
  request.peer = peer_;
  keep_alive_ = parser->keep_alive() && !core_->draining;
  http_1_1_ = parser->version == 11;
  is_head_ = request.method == "HEAD";
  answer_begun_ = answer_ended_ = false;
  exchange_ = std::make_shared<ExchangeState>();
  exchange_->connection = this;
  core_->handler(std::move(request), MakeExchange(core_->mailbox, exchange_));
}

// --- answering ---

// Answers without the handler, and closes: what follows on this connection cannot be trusted to be a request.
void Connection::Refuse(ErrorKind kind, int status, std::string_view message) {
  is_head_ = parser_ != nullptr && parser_->is_header_done() && parser_->request.method == "HEAD";
  parser_.reset();
  in_.clear();
  phase_ = Phase::kAnswering;
  http_1_1_ = true;
  keep_alive_ = answer_begun_ = answer_ended_ = false;
  Response response{status, {{"Content-Type", "application/json"}}, ""};
  if (status == 503) response.headers.Set("Retry-After", "1");
  // `message` is our own text: nothing in it needs escaping.
  response.body = StrCat("{\"error\":\"", message, "\",\"error_type\":\"", InfoOf(kind).tgi_error_type, "\"}");
  Send(std::move(response));
}

void Connection::AppendHead(int status, const Headers& headers, std::optional<size_t> content_length) {
  answer_begun_ = true;
  no_body_ = is_head_ || status == 204 || status == 304;
  if (ListHas(headers.Get("Connection"), "close") || core_->draining) keep_alive_ = false;
  StrAppend(&out_, "HTTP/1.1 ", status, " ", ReasonOf(status), "\r\n");
  AppendHeaders(headers, out_);
  StrAppend(&out_, "Date: ", HttpDate(), "\r\n");
  const bool may_have_length = status != 204 && status != 304;
  if (content_length.has_value()) {
    if (may_have_length) StrAppend(&out_, "Content-Length: ", *content_length, "\r\n");
  } else if (http_1_1_) {
    chunked_ = !no_body_;
    if (may_have_length) out_ += "Transfer-Encoding: chunked\r\n";
  } else {
    chunked_ = false;
    if (!no_body_) keep_alive_ = false;  // the end of an HTTP/1.0 stream is the end of the connection
  }
  if (!keep_alive_) {
    out_ += "Connection: close\r\n";
  } else if (!http_1_1_) {
    out_ += "Connection: keep-alive\r\n";
  }
  out_ += "\r\n";
}

static bool IsSendable(int status, const Headers& headers) {
  const absl::Status checked = CheckHeaders(headers);
  if (checked.ok() && status >= 200 && status <= 599) return true;
  LogError("answer_refused", {{"status", status}, {"reason", checked}});
  return false;
}

void Connection::Send(Response response) {
  if (phase_ != Phase::kAnswering || answer_begun_) return;
  if (!IsSendable(response.status, response.headers)) response = {500, {}, "The answer could not be sent\n"};
  size_t length = response.body.size();
  if (is_head_ && response.body.empty()) {  // an answer to HEAD may tell the length of the body that it leaves out
    const std::string_view told = response.headers.Get("Content-Length");
    if (!told.empty() && told.size() < 19 && told.find_first_not_of("0123456789") == std::string_view::npos) {
      length = std::stoull(std::string(told));
    }
  }
  AppendHead(response.status, response.headers, length);
  if (!no_body_) out_ += response.body;
  answer_ended_ = true;
  Flush();
}

void Connection::StartStream(int status, const Headers& headers) {
  if (phase_ != Phase::kAnswering || answer_begun_) return;
  if (!IsSendable(status, headers)) return Send({500, {}, "The answer could not be sent\n"});
  AppendHead(status, headers, std::nullopt);
  Flush();
}

void Connection::Write(std::string_view bytes) {
  if (phase_ != Phase::kAnswering || !answer_begun_ || answer_ended_ || no_body_ || bytes.empty()) {
    if (exchange_ != nullptr) exchange_->buffered_bytes = out_.size() + writing_.size() - written_;
    return;
  }
  if (chunked_) {
    StrAppend(&out_, Hex(bytes.size()), "\r\n", bytes, "\r\n");
  } else {
    out_ += bytes;
  }
  Flush();
}

void Connection::Finish() {
  if (phase_ != Phase::kAnswering || answer_ended_) return;
  if (!answer_begun_) return Send({500, {}, "No answer was given\n"});
  answer_ended_ = true;
  if (chunked_) out_ += "0\r\n\r\n";
  Flush();
}

void Connection::Abort() {
  if (phase_ == Phase::kAnswering && !answer_ended_) Close(false, /*reset=*/true);
}

void Connection::HandleDropped() {
  if (phase_ != Phase::kAnswering || answer_ended_) return;
  if (answer_begun_) return Abort();
  LogError("request_not_answered", {{"peer", peer_}, {"action", "answered 500"}});
  Send({500, {}, "No answer was given\n"});
}

void Connection::Flush() {
  if (exchange_ != nullptr) exchange_->buffered_bytes = out_.size() + writing_.size() - written_;
  if (write_armed_) return;
  if (out_.empty()) return OnFlushed();
  writing_.swap(out_);
  written_ = 0;
  deadline_.Set(core_->options.write_timeout);
  WriteSome();
}

void Connection::WriteSome() {
  write_armed_ = true;
  socket_.async_write_some(asio::buffer(writing_.data() + written_, writing_.size() - written_),
                           [self = shared_from_this()](const error_code& error, size_t size) {
                             self->write_armed_ = false;
                             if (self->phase_ != Phase::kClosed) self->OnWritten(error, size);
                           });
}

void Connection::OnWritten(const error_code& error, size_t size) {
  if (error) return Close(true);
  written_ += size;
  if (written_ < writing_.size()) {
    if (exchange_ != nullptr) exchange_->buffered_bytes = out_.size() + writing_.size() - written_;
    deadline_.Set(core_->options.write_timeout);
    return WriteSome();
  }
  writing_.clear();
  if (writing_.capacity() > kPipelineBytes) writing_.shrink_to_fit();
  written_ = 0;
  Flush();
}

void Connection::OnFlushed() {
  if (phase_ == Phase::kReading) return deadline_.Set(core_->options.header_timeout);  // 100 Continue is out
  deadline_.Clear();
  if (answer_ended_) return EndAnswer();
  if (exchange_ == nullptr || exchange_->posted_bytes != 0 || !exchange_->on_drain) return;
  const std::function<void()> on_drain = exchange_->on_drain;
  on_drain();
}

void Connection::EndAnswer() {
  const std::shared_ptr<Connection> self = shared_from_this();
  const std::shared_ptr<ExchangeState> exchange = std::exchange(exchange_, nullptr);
  if (keep_alive_) {
    phase_ = Phase::kIdle;
    answer_ended_ = false;
    deadline_.Set(core_->options.idle_timeout);
  } else {
    Linger();
  }
  if (exchange != nullptr) exchange->End(/*left=*/false);
  if (phase_ != Phase::kIdle) return;
  if (core_->draining && in_.empty()) return Close(false);
  Advance();
  ReadMore();
}

// Closes so that the client can read the answer: a close with unread bytes would send a reset, which may overtake it.
void Connection::Linger() {
  phase_ = Phase::kLingering;
  in_.clear();
  error_code error;
  socket_.shutdown(tcp::socket::shutdown_send, error);
  deadline_.Set(kLingerTime);
  ReadMore();
}

void Connection::OnDeadline() {
  const std::shared_ptr<Connection> self = shared_from_this();
  switch (phase_) {
    case Phase::kReading:
      return Refuse(ErrorKind::kTimeout, 408, "The request took too long to arrive");
    case Phase::kAnswering:
      return Close(/*client_left=*/true, /*reset=*/true);
    default:
      return Close(false);
  }
}

void Connection::Close(bool client_left, bool reset) {
  if (phase_ == Phase::kClosed) return;
  const std::shared_ptr<Connection> self = shared_from_this();
  phase_ = Phase::kClosed;
  deadline_.Clear();
  error_code error;
  if (reset) socket_.set_option(asio::socket_base::linger(true, 0), error);
  socket_.close(error);
  core_->connections.erase(this);
  if (const auto exchange = std::exchange(exchange_, nullptr)) exchange->End(client_left);
}

void Connection::CloseForServer() {
  if (const auto exchange = std::exchange(exchange_, nullptr)) {
    exchange->connection = nullptr;
    // A handler may hold its exchange in the callback that it gave it: if the loop ends before this runs, that circle
    // is cut all the same.
    const std::shared_ptr<ExchangeState> held(exchange.get(),
                                              [exchange](ExchangeState*) { exchange->DropCallbacks(); });
    core_->mailbox->Post([held] { held->End(/*left=*/true); });
  }
  Close(false);
}

}  // namespace patella::http
