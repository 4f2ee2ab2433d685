// The transport on cpprestsdk 2.10, in the only configuration that was found free of data races: a pool of one thread,
// on which every request, cancel and destruction of a client runs. See transport.h for the contract.
//
// Known defects of the library that shape this file: cancel from another thread races with the socket's handlers (#843
// and our own measurements); exits with a larger pool crash (#1480, #1482, #1491); the default body buffer has no
// back-pressure; `timeout` is an idle timer and 0 expires at once; the system CA bundle is loaded for each connection.
#include <cpprest/http_client.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <pplx/threadpool.h>
#include <signal.h>

#include <atomic>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <set>
#include <thread>

#include "lib/base/logging.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/line_splitter.h"
#include "lib/kube/process_environment.h"
#include "lib/kube/tls_context.h"
#include "lib/kube/transport.h"
#include "lib/kube/transport_errors.h"

namespace patella::kube {
namespace {

using web::http::client::http_client;
using web::http::client::http_client_config;

constexpr size_t kMaxLine = size_t{32} << 20;
constexpr size_t kMaxErrorBody = size_t{64} << 10;

std::atomic<std::thread::id> io_thread_id;

template <typename F>
void Post(F f) {
  crossplat::threadpool::shared_instance().service().post(std::move(f));
}

// One request and its answer. Everything but Wait runs on the io thread.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  struct Sink {
    std::function<bool(std::string_view line)> on_line;  // empty: the whole body is kept, up to max_body
    std::function<void(absl::Status, HttpResponse)> on_end;
    size_t max_body = 0;
    std::string method, server, path, source;  // for messages
  };

  explicit Exchange(Sink sink) : sink_(std::move(sink)), splitter_(kMaxLine) {}

  void Start(const std::shared_ptr<http_client>& client, web::http::http_request request, Duration until_headers);
  void Cancel(absl::Status reason);
  void Resume();
  void Fail(absl::Status status) { Finish(std::move(status)); }  // instead of Start

  // From the stream buffer. The task ends when reading may go on.
  pplx::task<size_t> OnBytes(const uint8_t* bytes, size_t count);

 private:
  void OnHeaders(const web::http::http_response& response);
  void Deliver(std::string_view bytes);
  void Release();
  void Finish(absl::Status status);

  Sink sink_;
  LineSplitter splitter_;
  HttpResponse response_;
  std::string early_;  // body before OnHeaders, and what came while paused
  bool paused_ = false;
  bool end_waits_ = false;  // the stream has ended, but its last lines wait for Resume
  std::optional<pplx::task_completion_event<size_t>> held_;
  size_t held_count_ = 0;
  absl::Status cancelled_;  // the reason, once Cancel was called
  bool finished_ = false;
  pplx::cancellation_token_source cancellation_;
  std::shared_ptr<http_client> client_;
  std::unique_ptr<boost::asio::steady_timer> headers_timer_;
};

// The write-only stream buffer through which cpprestsdk hands over the body.
class BodyBuffer final : public concurrency::streams::details::streambuf_state_manager<uint8_t> {
 public:
  explicit BodyBuffer(std::shared_ptr<Exchange> exchange)
      : streambuf_state_manager<uint8_t>(std::ios_base::out), exchange_(std::move(exchange)) {}

  bool can_seek() const override { return false; }
  bool has_size() const override { return false; }
  size_t buffer_size(std::ios_base::openmode) const override { return 0; }
  void set_buffer_size(size_t, std::ios_base::openmode) override {}
  size_t in_avail() const override { return 0; }
  pos_type getpos(std::ios_base::openmode) const override { return static_cast<pos_type>(traits::eof()); }
  pos_type seekpos(pos_type, std::ios_base::openmode) override { return static_cast<pos_type>(traits::eof()); }
  pos_type seekoff(off_type, std::ios_base::seekdir, std::ios_base::openmode) override {
    return static_cast<pos_type>(traits::eof());
  }
  bool acquire(uint8_t*& pointer, size_t& count) override {
    pointer = nullptr;
    count = 0;
    return false;
  }
  void release(uint8_t*, size_t) override {}

 protected:
  pplx::task<int_type> _putc(uint8_t byte) override {
    return exchange_->OnBytes(&byte, 1).then([byte](size_t) { return static_cast<int_type>(byte); });
  }
  pplx::task<size_t> _putn(const uint8_t* bytes, size_t count, bool) override { return _putn(bytes, count); }
  pplx::task<size_t> _putn(const uint8_t* bytes, size_t count) override { return exchange_->OnBytes(bytes, count); }
  pplx::task<bool> _sync() override { return pplx::task_from_result(true); }
  uint8_t* _alloc(size_t) override { return nullptr; }
  void _commit(size_t) override {}
  pplx::task<int_type> _bumpc() override { return Eof(); }
  int_type _sbumpc() override { return traits::eof(); }
  pplx::task<int_type> _getc() override { return Eof(); }
  int_type _sgetc() override { return traits::eof(); }
  pplx::task<int_type> _nextc() override { return Eof(); }
  pplx::task<int_type> _ungetc() override { return Eof(); }
  pplx::task<size_t> _getn(uint8_t*, size_t) override { return pplx::task_from_result(size_t{0}); }
  size_t _scopy(uint8_t*, size_t) override { return 0; }

 private:
  static pplx::task<int_type> Eof() { return pplx::task_from_result<int_type>(traits::eof()); }
  std::shared_ptr<Exchange> exchange_;
};

class BodyStream final : public concurrency::streams::streambuf<uint8_t> {
 public:
  explicit BodyStream(std::shared_ptr<Exchange> exchange)
      : streambuf<uint8_t>(std::make_shared<BodyBuffer>(std::move(exchange))) {}
};

void Exchange::Start(const std::shared_ptr<http_client>& client, web::http::http_request request,
                     Duration until_headers) {
  const auto self = shared_from_this();
  client_ = client;
  if (until_headers > Duration::zero()) {
    headers_timer_ =
        std::make_unique<boost::asio::steady_timer>(crossplat::threadpool::shared_instance().service(), until_headers);
    headers_timer_->async_wait([self, until_headers](const boost::system::error_code& error) {
      if (error || self->response_.status != 0) return;
      self->Cancel(ConnectionError(
          ConnectionFailure::kTimeout,
          StrCat(self->sink_.method, " ", self->sink_.server, self->sink_.path.substr(0, self->sink_.path.find('?')),
                 ": no answer in ", Seconds(until_headers), " s")));
    });
  }
  try {
    request.set_response_stream(BodyStream(self).create_ostream());
    client->request(request, cancellation_.get_token())
        .then([self](const web::http::http_response& response) {
          self->OnHeaders(response);
          return response.content_ready();
        })
        .then([self](const pplx::task<web::http::http_response>& done) {
          const Sink& sink = self->sink_;
          try {
            done.get();
            self->Finish(absl::OkStatus());
          } catch (const web::http::http_exception& error) {
            self->Finish(DescribeHttpError(error.error_code().value(), error.what(), sink.method, sink.server,
                                           sink.path, sink.source));
          } catch (const pplx::task_canceled&) {
            self->Finish(DescribeHttpError(ECANCELED, "cancelled", sink.method, sink.server, sink.path, sink.source));
          } catch (const std::exception& error) {
            self->Finish(DescribeHttpError(0, error.what(), sink.method, sink.server, sink.path, sink.source));
          }
        });
  } catch (const std::exception& error) {  // a URI that cpprestsdk refuses, and the like
    Finish(DescribeHttpError(0, error.what(), sink_.method, sink_.server, sink_.path, sink_.source));
  }
}

void Exchange::OnHeaders(const web::http::http_response& response) {
  response_.status = response.status_code();
  for (const auto& [name, value] : response.headers()) response_.headers.emplace_back(name, value);
  if (headers_timer_ != nullptr) headers_timer_->cancel();
  const std::string early = std::move(early_);
  early_.clear();
  Deliver(early);
}

void Exchange::Deliver(std::string_view bytes) {
  if (finished_ || !cancelled_.ok()) return;
  const bool to_lines = sink_.on_line != nullptr && response_.status == 200;
  if (!to_lines) {
    const size_t limit = sink_.on_line != nullptr ? kMaxErrorBody : sink_.max_body;
    if (response_.body.size() + bytes.size() <= limit) {
      response_.body.append(bytes);
    } else if (sink_.on_line == nullptr) {
      Cancel(absl::ResourceExhaustedError(
          StrCat(sink_.method, " ", sink_.path, ": the answer is larger than ", limit, " bytes")));
    }
    return;
  }
  const bool good = splitter_.Feed(bytes, [this](std::string_view line) {
    if (!sink_.on_line(line)) paused_ = true;
  });
  if (!good) {
    Cancel(ConnectionError(ConnectionFailure::kDropped,
                           StrCat(sink_.method, " ", sink_.path, ": a line is longer than ", kMaxLine, " bytes")));
  }
}

pplx::task<size_t> Exchange::OnBytes(const uint8_t* bytes, size_t count) {
  const std::string_view text(reinterpret_cast<const char*>(bytes), count);
  if (response_.status == 0 || paused_) {
    early_.append(text);
  } else {
    Deliver(text);
  }
  if (!paused_) return pplx::task_from_result(count);
  held_.emplace();
  held_count_ = count;
  return pplx::create_task(*held_);
}

void Exchange::Release() {
  if (!held_) return;
  const pplx::task_completion_event<size_t> held = *held_;
  held_.reset();
  held.set(held_count_);
}

void Exchange::Resume() {
  if (finished_ || !paused_) return;
  paused_ = false;
  const std::string early = std::move(early_);
  early_.clear();
  Deliver(early);
  if (paused_) return;
  Release();
  if (end_waits_) Finish(absl::OkStatus());
}

void Exchange::Cancel(absl::Status reason) {
  if (finished_ || !cancelled_.ok()) return;
  cancelled_ = std::move(reason);
  paused_ = false;
  Release();  // else the library would wait for the buffer for ever
  // Not from within its own call into the stream buffer.
  Post([self = shared_from_this()] {
    if (self->finished_) return;
    self->cancellation_.cancel();
    if (self->end_waits_) self->Finish(absl::OkStatus());
  });
}

void Exchange::Finish(absl::Status status) {
  if (finished_) return;
  if (status.ok() && paused_) {  // the end came with lines that wait for Resume
    end_waits_ = true;
    return;
  }
  finished_ = true;
  if (headers_timer_ != nullptr) headers_timer_->cancel();
  headers_timer_.reset();
  if (!cancelled_.ok()) status = cancelled_;
  const auto on_end = std::move(sink_.on_end);
  sink_ = {};
  client_.reset();
  if (on_end) on_end(std::move(status), std::move(response_));
}

class Handle final : public HttpStream {
 public:
  explicit Handle(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~Handle() override { Cancel(); }
  void Cancel() override {
    Post([exchange = exchange_] {
      exchange->Cancel(ConnectionError(ConnectionFailure::kCancelled, "the stream was cancelled"));
    });
  }
  void Resume() override {
    Post([exchange = exchange_] { exchange->Resume(); });
  }

 private:
  std::shared_ptr<Exchange> exchange_;
};

// The family of all addresses of `host`; AF_UNSPEC if they differ or are not known.
int FamilyOf(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &list) != 0) return AF_UNSPEC;
  int family = list == nullptr ? AF_UNSPEC : list->ai_family;
  for (const addrinfo* next = list; next != nullptr; next = next->ai_next) {
    if (next->ai_family != family) family = AF_UNSPEC;
  }
  freeaddrinfo(list);
  return family;
}

// Finds half-open connections in about 40 s, where the idle timer of a watch would take minutes.
void SetSocketOptions(int socket, const TransportOptions& options) {
  const int on = 1, interval = 10, probes = 3, user_timeout_ms = 40'000;
  const int idle = static_cast<int>(std::chrono::duration_cast<std::chrono::seconds>(options.keepalive_idle).count());
  setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
  setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof user_timeout_ms);
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void NoteTlsFailure(const absl::Status& status, Credentials& credentials) {
  if (ConnectionFailureOf(status) == ConnectionFailure::kTls) credentials.TlsFailed();
}

class CpprestTransport final : public HttpTransport {
 public:
  CpprestTransport(std::shared_ptr<Credentials> credentials, TransportOptions options, const web::uri& server)
      : credentials_(std::move(credentials)),
        options_(options),
        base_(web::uri_builder().set_scheme(server.scheme()).set_host(server.host()).set_port(server.port()).to_uri()),
        base_path_(server.path() == "/" ? "" : server.path()),
        is_tls_(server.scheme() == "https") {
    std::string host = server.host();
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    boost::system::error_code error;
    boost::asio::ip::make_address(host, error);
    host_is_address_ = !error;
    family_ = FamilyOf(host);
  }

  // Waits until its connections are closed, those of streams that were just cancelled too: a program that ends right after leaves none of them
  // to the io thread.
  ~CpprestTransport() override {
    shared_client_.reset();
    if (!OnIoThread()) open_->WaitForNone(std::chrono::seconds(5));
  }

  absl::Status Prepare() { return Tls().status(); }

  absl::StatusOr<HttpResponse> Call(const HttpRequest& request, Duration timeout) override;
  void EndCalls() override;
  std::unique_ptr<HttpStream> Stream(const HttpRequest& request, Duration idle_timeout,
                                     StreamCallbacks callbacks) override;

 private:
  // Of a call. What is said first counts.
  struct Outcome {
    std::mutex mutex;
    std::condition_variable ready;
    bool done = false;
    absl::Status status;
    HttpResponse response;
    void Set(absl::Status s, HttpResponse r) {
      const std::lock_guard lock(mutex);
      if (std::exchange(done, true)) return;
      status = std::move(s);
      response = std::move(r);
      ready.notify_all();
    }
    void GiveUp() { Set(ConnectionError(ConnectionFailure::kCancelled, "given up: this client was closed"), {}); }
  };

  // The library's clients that are not yet gone.
  class Open {
   public:
    void Add() {
      const std::lock_guard lock(mutex_);
      ++count_;
    }
    void Remove() {
      const std::lock_guard lock(mutex_);
      if (--count_ == 0) none_.notify_all();
    }
    void WaitForNone(Duration at_most) {
      std::unique_lock lock(mutex_);
      none_.wait_for(lock, at_most, [this] { return count_ == 0; });
    }

   private:
    std::mutex mutex_;
    std::condition_variable none_;
    int count_ = 0;
  };

  absl::StatusOr<std::shared_ptr<const TlsContext>> Tls();
  absl::StatusOr<std::shared_ptr<http_client>> MakeClient(Duration idle_timeout);
  absl::StatusOr<std::shared_ptr<http_client>> SharedClient();
  // Moved to the io thread as a whole: the library's own reference counts change there alone.
  std::shared_ptr<web::http::http_request> Convert(const HttpRequest& request, const TlsContext& tls) const;
  Exchange::Sink SinkFor(const HttpRequest& request) const {
    return {.on_line = nullptr,
            .on_end = nullptr,
            .max_body = options_.max_body_bytes,
            .method = request.method,
            .server = credentials_->access().server,
            .path = request.path,
            .source = credentials_->access().source};
  }

  const std::shared_ptr<Credentials> credentials_;
  const TransportOptions options_;
  const web::uri base_;
  const std::string base_path_;
  const bool is_tls_;
  bool host_is_address_ = false;
  int family_ = AF_UNSPEC;

  std::mutex mutex_;
  uint64_t generation_ = 0;  // of tls_
  std::shared_ptr<const TlsContext> tls_;
  std::shared_ptr<http_client> shared_client_;  // its pool keeps connections; replaced with tls_
  std::set<std::shared_ptr<Outcome>> calls_;    // in progress
  const std::shared_ptr<Open> open_ = std::make_shared<Open>();
  bool calls_ended_ = false;
};

absl::StatusOr<std::shared_ptr<const TlsContext>> CpprestTransport::Tls() {
  PATELLA_ASSIGN_OR_RETURN(const TlsMaterial material, credentials_->Tls());
  const std::lock_guard lock(mutex_);
  if (material.generation > generation_) {
    auto made = TlsContext::Make(material, credentials_->access().source);
    if (!made.ok()) {
      credentials_->TlsFailed();  // certificate and key of two rotations, perhaps: both are read again
      if (tls_ == nullptr) return made.status();
      return tls_;
    }
    tls_ = *std::move(made);
    generation_ = material.generation;
    shared_client_.reset();
  }
  return tls_;
}

absl::StatusOr<std::shared_ptr<http_client>> CpprestTransport::MakeClient(Duration idle_timeout) {
  PATELLA_ASSIGN_OR_RETURN(const std::shared_ptr<const TlsContext> tls, Tls());
  http_client_config config;
  config.set_timeout(std::chrono::duration_cast<std::chrono::microseconds>(idle_timeout));
  config.set_max_redirects(0);
  config.set_validate_certificates(!tls->skip_verify());
  config.set_tlsext_sni_enabled(!host_is_address_ || !tls->server_name().empty());
  config.set_ssl_context_callback([tls](boost::asio::ssl::context& context) { tls->Apply(context.native_handle()); });
  config.set_nativehandle_options(
      [is_tls = is_tls_, family = family_, options = options_](web::http::client::native_handle handle) {
        using boost::asio::ip::tcp;
        if (family == AF_UNSPEC) return;  // opening the socket now could pick the wrong family
        tcp::socket& socket = is_tls ? static_cast<boost::asio::ssl::stream<tcp::socket&>*>(handle)->next_layer()
                                     : *static_cast<tcp::socket*>(handle);
        boost::system::error_code error;
        if (!socket.is_open()) socket.open(family == AF_INET6 ? tcp::v6() : tcp::v4(), error);
        if (!error) SetSocketOptions(socket.native_handle(), options);
      });
  try {
    auto client = std::make_unique<http_client>(base_, config);
    open_->Add();
    return std::shared_ptr<http_client>(client.release(), [open = open_](http_client* gone) {
      Post([gone, open] {
        delete gone;
        open->Remove();
      });
    });
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(StrCat(credentials_->access().server, ": ", error.what()));
  }
}

absl::StatusOr<std::shared_ptr<http_client>> CpprestTransport::SharedClient() {
  PATELLA_RETURN_IF_ERROR(Tls().status());
  {
    const std::lock_guard lock(mutex_);
    if (shared_client_ != nullptr) return shared_client_;
  }
  // Calls have deadlines of their own; the idle timer only has to end what they left.
  PATELLA_ASSIGN_OR_RETURN(std::shared_ptr<http_client> client, MakeClient(std::chrono::minutes(5)));
  const std::lock_guard lock(mutex_);
  if (shared_client_ == nullptr) shared_client_ = std::move(client);
  return shared_client_;
}

std::shared_ptr<web::http::http_request> CpprestTransport::Convert(const HttpRequest& request,
                                                                   const TlsContext& tls) const {
  auto owned = std::make_shared<web::http::http_request>(request.method);
  web::http::http_request& converted = *owned;
  converted.set_request_uri(web::uri(base_path_ + request.path));
  if (!request.body.empty()) {
    const std::string_view type = FindHeader(request.headers, "Content-Type");
    converted.set_body(request.body, type.empty() ? "application/json" : std::string(type));
  }
  for (const auto& [name, value] : request.headers) {
    if (!EqualsIgnoringCase(name, "Content-Type")) converted.headers().add(name, value);
  }
  // cpprestsdk takes SNI and the name to verify from Host.
  if (!tls.server_name().empty()) converted.headers().add("Host", tls.server_name());
  return owned;
}

absl::StatusOr<HttpResponse> CpprestTransport::Call(const HttpRequest& request, Duration timeout) {
  if (OnIoThread()) {
    std::fprintf(stderr, "bug: a blocking Kubernetes call on the io thread would wait for itself\n");
    std::abort();
  }
  PATELLA_ASSIGN_OR_RETURN(const std::shared_ptr<const TlsContext> tls, Tls());
  // A connection of its own keeps the library from sending a POST again over a second one.
  PATELLA_ASSIGN_OR_RETURN(std::shared_ptr<http_client> client,
                           request.method == "POST" ? MakeClient(std::chrono::minutes(5)) : SharedClient());
  const auto outcome = std::make_shared<Outcome>();
  Exchange::Sink sink = SinkFor(request);
  sink.on_end = [outcome, credentials = credentials_](absl::Status status, HttpResponse response) {
    NoteTlsFailure(status, *credentials);
    outcome->Set(std::move(status), std::move(response));
  };
  const auto exchange = std::make_shared<Exchange>(std::move(sink));
  try {
    Post([exchange, client, converted = Convert(request, *tls)] {
      exchange->Start(client, *converted, Duration::zero());
    });
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(StrCat(request.method, " ", request.path, ": ", error.what()));
  }
  client.reset();
  {
    const std::lock_guard lock(mutex_);
    calls_.insert(outcome);
    if (calls_ended_) outcome->GiveUp();
  }
  {
    std::unique_lock lock(outcome->mutex);
    outcome->ready.wait_for(lock, timeout, [&] { return outcome->done; });
  }
  {
    const std::lock_guard lock(mutex_);
    calls_.erase(outcome);
  }
  outcome->Set(DescribeHttpError(ETIMEDOUT, "", request.method, credentials_->access().server, request.path,
                                 credentials_->access().source),
               {});
  if (outcome->status.ok()) return std::move(outcome->response);
  Post([exchange, status = outcome->status] { exchange->Cancel(status); });  // nothing, where it has ended
  return outcome->status;
}

void CpprestTransport::EndCalls() {
  const std::lock_guard lock(mutex_);
  calls_ended_ = true;
  for (const std::shared_ptr<Outcome>& call : calls_) call->GiveUp();
}

std::unique_ptr<HttpStream> CpprestTransport::Stream(const HttpRequest& request, Duration idle_timeout,
                                                     StreamCallbacks callbacks) {
  Exchange::Sink sink = SinkFor(request);
  sink.on_line = std::move(callbacks.on_line);
  sink.on_end = [credentials = credentials_, on_end = std::move(callbacks.on_end)](absl::Status status,
                                                                                   HttpResponse response) {
    NoteTlsFailure(status, *credentials);
    on_end({std::move(status), std::move(response)});
  };
  const auto exchange = std::make_shared<Exchange>(std::move(sink));
  const auto fail = [&](absl::Status status) {
    Post([exchange, status = std::move(status)] { exchange->Fail(status); });
  };
  const absl::StatusOr<std::shared_ptr<const TlsContext>> tls = Tls();
  const absl::StatusOr<std::shared_ptr<http_client>> client =
      tls.ok() ? MakeClient(idle_timeout) : absl::StatusOr<std::shared_ptr<http_client>>(tls.status());
  if (!client.ok()) {
    fail(client.status());
    return std::make_unique<Handle>(exchange);
  }
  try {
    Post([exchange, client = *client, converted = Convert(request, **tls), limit = options_.connect_timeout] {
      exchange->Start(client, *converted, limit);
    });
  } catch (const std::exception& error) {
    fail(absl::InvalidArgumentError(StrCat(request.method, " ", request.path, ": ", error.what())));
  }
  return std::make_unique<Handle>(exchange);
}

// The pool's thread ends after exit handlers have run, and may free the last TLS context then: OpenSSL must still be there. Its first
// initialisation decides, so this comes before main.
const int openssl_outlives_exit_handlers = OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);

}  // namespace

void InitTransport() {
  static std::once_flag once;
  std::call_once(once, [] {
    HideSystemCas();
    signal(SIGPIPE, SIG_IGN);
    try {
      crossplat::threadpool::initialize_with_threads(1);
    } catch (const std::exception& error) {
      LogError("cpprestsdk was used before InitTransport: its pool has more than one thread, which races on cancel",
               {{"error", error.what()}});
    }
    std::mutex mutex;
    std::condition_variable ready;
    bool known = false;
    Post([&] {
      const std::lock_guard lock(mutex);
      io_thread_id = std::this_thread::get_id();
      known = true;
      ready.notify_all();
    });
    std::unique_lock lock(mutex);
    ready.wait(lock, [&] { return known; });
  });
}

bool OnIoThread() { return std::this_thread::get_id() == io_thread_id.load(); }

absl::StatusOr<std::unique_ptr<HttpTransport>> MakeTransport(std::shared_ptr<Credentials> credentials,
                                                             TransportOptions options) {
  InitTransport();
  const std::string& server = credentials->access().server;
  web::uri uri;
  try {
    uri = web::uri(server);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(StrCat(credentials->access().source, ": server '", server, "': ", error.what()));
  }
  auto transport = std::make_unique<CpprestTransport>(std::move(credentials), options, uri);
  PATELLA_RETURN_IF_ERROR(transport->Prepare());
  return std::unique_ptr<HttpTransport>(std::move(transport));
}

}  // namespace patella::kube
