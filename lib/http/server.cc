#include "lib/http/server.h"

#include <utility>

#include "lib/base/logging.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/http/connection.h"

namespace patella::http {

constexpr int kMaxRejecting = 64;  // connections over the limit that are told so; more are closed without a word
constexpr Duration kAcceptRetry = std::chrono::milliseconds(50);

void ExchangeState::End(bool left) {
  connection = nullptr;
  over = true;
  client_left = left;
  ignores_writes = true;
  posted_bytes = buffered_bytes = 0;
  on_drain = nullptr;
  const auto closing = std::exchange(on_close, {});
  const auto finishing = std::exchange(on_done, {});
  if (left) {
    for (const auto& fn : closing) fn();
  }
  for (const auto& fn : finishing) fn();
}

void ExchangeState::DropCallbacks() {
  connection = nullptr;
  over = true;
  ignores_writes = true;
  posted_bytes = buffered_bytes = 0;
  const auto drain = std::exchange(on_drain, nullptr);
  const auto closing = std::exchange(on_close, {});
  const auto finishing = std::exchange(on_done, {});
}

namespace {

class PostingExchange final : public Exchange {
 public:
  PostingExchange(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<ExchangeState> state)
      : mailbox_(std::move(mailbox)), state_(std::move(state)) {}

  ~PostingExchange() override {
    PostToConnection([](Connection& connection) { connection.HandleDropped(); });
  }

  void Send(Response response) override {
    PostToConnection([response = std::move(response)](Connection& connection) { connection.Send(response); });
  }
  void StartStream(int status, Headers headers) override {
    PostToConnection(
        [status, headers = std::move(headers)](Connection& connection) { connection.StartStream(status, headers); });
  }
  void Write(std::string bytes) override {
    if (state_->ignores_writes) return;
    state_->posted_bytes += bytes.size();
    mailbox_->Post([state = state_, bytes = std::move(bytes)] {
      if (state->connection == nullptr) return;
      state->buffered_bytes += bytes.size();  // first: pending_bytes, read on another thread, never misses them
      state->posted_bytes -= bytes.size();
      state->connection->Write(bytes);
    });
  }
  void Finish() override {
    PostToConnection([](Connection& connection) { connection.Finish(); });
  }
  void Abort() override {
    PostToConnection([](Connection& connection) { connection.Abort(); });
  }

  void OnClose(std::function<void()> fn) override {
    mailbox_->Post([state = state_, fn = std::move(fn)]() mutable {
      if (!state->over) {
        state->on_close.push_back(std::move(fn));
      } else if (state->client_left) {
        fn();
      }
    });
  }
  void OnDone(std::function<void()> fn) override {
    mailbox_->Post([state = state_, fn = std::move(fn)]() mutable {
      if (state->over) return fn();
      state->on_done.push_back(std::move(fn));
    });
  }
  void OnDrain(std::function<void()> fn) override {
    mailbox_->Post([state = state_, fn = std::move(fn)]() mutable {
      if (!state->over) state->on_drain = std::move(fn);
    });
  }
  size_t pending_bytes() const override { return state_->posted_bytes + state_->buffered_bytes; }

 private:
  template <typename Fn>
  void PostToConnection(Fn fn) {
    mailbox_->Post([state = state_, fn = std::move(fn)] {
      if (state->connection != nullptr) fn(*state->connection);
    });
  }

  std::shared_ptr<Mailbox> mailbox_;
  std::shared_ptr<ExchangeState> state_;
};

std::string Join(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return endpoint.address().is_v6() ? StrCat("[", address, "]:", endpoint.port())
                                    : StrCat(address, ":", endpoint.port());
}

void AcceptNext(const std::shared_ptr<ServerCore>& core);

void Admit(const std::shared_ptr<ServerCore>& core, tcp::socket socket) {
  const int open = static_cast<int>(core->connections.size());
  if (open >= core->options.max_connections + kMaxRejecting) return;  // the socket closes itself
  const auto connection = std::make_shared<Connection>(core, std::move(socket));
  core->connections.emplace(connection.get(), connection);
  if (open < core->options.max_connections) return connection->Start();
  LogWarning("connection_refused", {{"reason", "max_connections"}, {"open", open}, {"action", "answered 503"}});
  connection->StartRejected();
}

void AcceptNext(const std::shared_ptr<ServerCore>& core) {
  core->acceptor.async_accept(core->io, [core](const error_code& error, tcp::socket socket) {
    if (!core->acceptor.is_open()) return;
    if (!error) {
      Admit(core, std::move(socket));
      return AcceptNext(core);
    }
    // Out of file descriptors or memory, or the client was gone already: neither lasts.
    LogWarning("accept_failed", {{"reason", error.message()}, {"action", "tried again"}});
    core->retry.expires_after(kAcceptRetry);
    core->retry.async_wait([core](const error_code& cancelled) {
      if (!cancelled && core->acceptor.is_open()) AcceptNext(core);
    });
  });
}

class AsioServer final : public Server {
 public:
  explicit AsioServer(std::shared_ptr<ServerCore> core) : core_(std::move(core)) {
    error_code error;
    endpoint_ = core_->acceptor.local_endpoint(error);
  }

  ~AsioServer() override {
    CloseAcceptor();
    core_->draining = true;
    const auto connections = std::exchange(core_->connections, {});
    for (const auto& [key, connection] : connections) connection->CloseForServer();
  }

  int port() const override { return endpoint_.port(); }
  std::string address() const override { return Join(endpoint_); }
  int open_connections() const override { return static_cast<int>(core_->connections.size()); }

  void StopAccepting() override {
    CloseAcceptor();
    core_->draining = true;
    const auto connections = core_->connections;  // Drain may erase
    for (const auto& [key, connection] : connections) connection->Drain();
  }

 private:
  void CloseAcceptor() {
    error_code error;
    core_->acceptor.close(error);
    core_->retry.cancel();
  }

  std::shared_ptr<ServerCore> core_;
  tcp::endpoint endpoint_;
};

absl::Status ListenError(const error_code& error, const std::string& where) {
  if (error == asio::error::address_in_use) {
    return absl::AlreadyExistsError(
        StrCat(where, " is already in use: stop the program that listens there, or choose another port"));
  }
  if (error == asio::error::access_denied) {
    return absl::PermissionDeniedError(StrCat("not allowed to listen on ", where, ": choose a port from 1024 up"));
  }
  return absl::InvalidArgumentError(StrCat("cannot listen on ", where, ": ", error.message()));
}

absl::Status Open(tcp::acceptor& acceptor, const tcp::endpoint& endpoint) {
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  return error ? ListenError(error, Join(endpoint)) : absl::OkStatus();
}

}  // namespace

std::shared_ptr<Exchange> MakeExchange(std::shared_ptr<Mailbox> mailbox, std::shared_ptr<ExchangeState> state) {
  return std::make_shared<PostingExchange>(std::move(mailbox), std::move(state));
}

absl::StatusOr<std::unique_ptr<Server>> Server::Listen(Loop& loop, ServerOptions options, Handler handler) {
  if (options.port < 0 || options.port > 65535) {
    return absl::InvalidArgumentError(StrCat("port ", options.port, " is not from 0 to 65535"));
  }
  error_code error;
  const asio::ip::address address = asio::ip::make_address(options.address, error);
  if (error) {
    return absl::InvalidArgumentError(
        StrCat("'", options.address, "' is not a numeric address: use 127.0.0.1, 0.0.0.0 or ::"));
  }
  const tcp::endpoint endpoint(address, static_cast<uint16_t>(options.port));
  const auto core = std::make_shared<ServerCore>(loop, std::move(options), std::move(handler));
  PATELLA_RETURN_IF_ERROR(Open(core->acceptor, endpoint));
  auto server = std::make_unique<AsioServer>(core);
  AcceptNext(core);
  return server;
}

}  // namespace patella::http
