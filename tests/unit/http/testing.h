// A loop in a thread, and a plain blocking socket to speak to a server byte by byte.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "lib/http/client.h"
#include "lib/http/server.h"

namespace patella::http {

constexpr int kPatienceMs = 20000;  // how long a test waits for what must come

// Runs a Loop on a thread of its own until destroyed.
class LoopThread {
 public:
  LoopThread() : thread_([this] { loop.Run(); }) {}
  ~LoopThread() { Join(); }
  void Join() {
    if (!thread_.joinable()) return;
    loop.Post([this] { loop.Stop(); });
    thread_.join();
  }
  // Runs fn on the loop's thread and waits for it.
  void Do(std::function<void()> fn) {
    std::promise<void> done;
    loop.Post([&] {
      fn();
      done.set_value();
    });
    done.get_future().wait();
  }

  Loop loop;

 private:
  std::thread thread_;
};

class ServerThread {
 public:
  explicit ServerThread(Handler handler, ServerOptions options = {}) {
    threads_.Do([&] {
      auto listening = Server::Listen(threads_.loop, options, std::move(handler));
      EXPECT_TRUE(listening.ok()) << listening.status();
      server = *std::move(listening);
      port = server->port();
    });
  }
  ~ServerThread() { Stop(); }
  void Stop() {
    if (server != nullptr) threads_.Do([this] { server.reset(); });
  }
  Loop& loop() { return threads_.loop; }
  void Do(std::function<void()> fn) { threads_.Do(std::move(fn)); }

  std::unique_ptr<Server> server;
  int port = 0;

 private:
  LoopThread threads_;
};

class RawSocket {
 public:
  explicit RawSocket(int port, int receive_buffer = 0) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  explicit RawSocket(int fd, std::nullptr_t) : fd_(fd) {}
  RawSocket(RawSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~RawSocket() { Close(); }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void HalfClose() { shutdown(fd_, SHUT_WR); }
  void Reset() {
    const linger hard{1, 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    Close();
  }
  bool Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // What comes next; "" at the end of the stream, "<reset>" or "<nothing>".
  std::string Read(size_t max = 65536) {
    pollfd waiting{fd_, POLLIN, 0};
    if (poll(&waiting, 1, kPatienceMs) <= 0) return "<nothing>";
    std::string bytes(max, '\0');
    const ssize_t got = recv(fd_, bytes.data(), max, 0);
    if (got < 0) return "<reset>";
    bytes.resize(static_cast<size_t>(got));
    return bytes;
  }
  std::string ReadUntil(std::string_view mark) {
    std::string all;
    while (all.find(mark) == std::string::npos) {
      const std::string more = Read();
      if (more.empty() || more == "<nothing>" || more == "<reset>") return all + more;
      all += more;
    }
    return all;
  }
  std::string ReadToEnd() {
    std::string all;
    while (true) {
      const std::string more = Read();
      all += more;
      if (more.empty() || more == "<nothing>" || more == "<reset>") return all;
    }
  }

 private:
  int fd_;
};

// A listening socket whose connections a test serves by hand.
class RawListener {
 public:
  RawListener() : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(fd_, 16), 0);
    socklen_t size = sizeof(address);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
  ~RawListener() { close(fd_); }
  RawSocket Accept() {
    pollfd waiting{fd_, POLLIN, 0};
    if (poll(&waiting, 1, kPatienceMs) <= 0) ADD_FAILURE() << "nobody connected";
    return RawSocket(accept(fd_, nullptr, nullptr), nullptr);
  }
  bool HasWaiting() {
    pollfd waiting{fd_, POLLIN, 0};
    return poll(&waiting, 1, 0) > 0;
  }

  int port = 0;

 private:
  int fd_;
};

template <typename T>
T WaitFor(std::future<T> future) {
  if (future.wait_for(std::chrono::milliseconds(kPatienceMs)) != std::future_status::ready) {
    ADD_FAILURE() << "what was waited for did not happen";
    if constexpr (std::is_void_v<T>) {
      return;
    } else {
      return T{};
    }
  }
  return future.get();
}

inline std::string UrlOf(int port, std::string_view path = "/") {
  return "http://127.0.0.1:" + std::to_string(port) + std::string(path);
}

}  // namespace patella::http
