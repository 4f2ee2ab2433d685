// A TCP gate between a client and a server on loopback that breaks connections on purpose: cuts, closes, delays,
// corrupts and stalls what the server sends.
//
//   TcpGate gate(server_port, /*seed=*/1);
//   gate.SetFault(TcpGate::Fault::kCut, 2000);   // of connections from now on: each after 1 to 2000 bytes
//   gate.CutAll();                               // the connections of now
//
// One thread; the methods may be called from any other. Loopback alone; the port is chosen by the kernel.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <deque>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/random.h"

namespace patella::integration {

class TcpGate {
 public:
  enum class Fault {
    kNone,
    kCut,      // RST after a few bytes
    kClose,    // FIN after a few bytes: an end that looks orderly to TCP
    kDelay,    // each piece up to 300 ms late
    kCorrupt,  // one byte is changed
    kStall,    // after a few bytes nothing comes any more, but the connection stays
    kRefuse,   // accepted and reset at once
  };

  TcpGate(int server_port, uint64_t seed) : server_port_(server_port), random_(seed) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 64) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0 || pipe2(wake_, O_NONBLOCK) != 0) {
      std::abort();
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~TcpGate() {
    stopping_ = true;
    Wake();
    thread_.join();
    for (const int fd : {listener_, wake_[0], wake_[1]}) close(fd);
  }

  int port() const { return port_; }
  int accepted() const { return accepted_; }
  int faults() const { return faults_; }  // that came to pass

  void SetFault(Fault fault, int within_bytes) {
    const std::lock_guard lock(mutex_);
    fault_ = fault;
    within_bytes_ = within_bytes;
  }
  void CutAll() {
    cut_all_ = true;
    Wake();
  }

 private:
  struct Piece {
    TimePoint due;
    std::string bytes;
  };
  struct Way {  // one direction
    int from, to;
    std::deque<Piece> pieces;
    bool ended = false, told = false;  // FIN was read; FIN was sent
  };
  struct Connection {
    Way up, down;
    Fault fault;
    int64_t fault_at;  // bytes of the server
    int64_t passed = 0;
    bool stalled = false, gone = false;
  };

  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }
  static void Reset(int fd) {
    const linger hard{1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
  }
  void Wake() const { [[maybe_unused]] const ssize_t written = write(wake_[1], "x", 1); }

  void Accept() {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return;
    ++accepted_;
    const std::lock_guard lock(mutex_);
    const int server = fault_ == Fault::kRefuse ? -1 : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(server_port_);
    if (server < 0 || connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      if (fault_ == Fault::kRefuse) ++faults_;
      if (server >= 0) close(server);
      return Reset(client);
    }
    fcntl(server, F_SETFL, O_NONBLOCK);
    connections_.push_back({.up = {client, server, {}},
                            .down = {server, client, {}},
                            .fault = fault_,
                            .fault_at = within_bytes_ > 0 ? random_.UniformInt(1, within_bytes_) : 0});
  }

  void Read(Connection& connection, Way& way) {
    char buffer[16384];
    const ssize_t count = read(way.from, buffer, sizeof buffer);
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) connection.gone = true;
    if (count <= 0) {
      way.ended = true;
      return;
    }
    std::string bytes(buffer, static_cast<size_t>(count));
    TimePoint due = std::chrono::steady_clock::now();
    if (&way == &connection.down) Damage(connection, bytes, due);
    if (!way.pieces.empty()) due = std::max(due, way.pieces.back().due);
    if (!bytes.empty()) way.pieces.push_back({due, std::move(bytes)});
  }

  void Damage(Connection& connection, std::string& bytes, TimePoint& due) {
    if (connection.stalled) return bytes.clear();
    const int64_t at = connection.fault_at - connection.passed;
    connection.passed += static_cast<int64_t>(bytes.size());
    if (connection.fault == Fault::kDelay) {
      ++faults_;
      due += FromMilliseconds(random_.Uniform(0, 300));
      return;
    }
    if (connection.fault == Fault::kNone || at < 0 || at >= static_cast<int64_t>(bytes.size())) return;
    ++faults_;
    if (connection.fault == Fault::kCorrupt) {
      bytes[static_cast<size_t>(at)] = static_cast<char>(bytes[static_cast<size_t>(at)] ^ random_.UniformInt(1, 255));
      return;
    }
    bytes.resize(static_cast<size_t>(at));
    connection.stalled = connection.fault == Fault::kStall;
    connection.down.ended = connection.fault == Fault::kClose;
    connection.gone = connection.fault == Fault::kCut;
  }

  void Write(Connection& connection, Way& way, TimePoint now) {
    while (!way.pieces.empty() && way.pieces.front().due <= now) {
      std::string& bytes = way.pieces.front().bytes;
      const ssize_t count = send(way.to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0 && errno != EAGAIN) connection.gone = true;
      if (count <= 0) return;
      bytes.erase(0, static_cast<size_t>(count));
      if (bytes.empty()) way.pieces.pop_front();
    }
    if (way.ended && way.pieces.empty() && !way.told) {
      way.told = true;
      shutdown(way.to, SHUT_WR);
    }
  }

  // Milliseconds until a delayed piece is due; -1: none.
  int Timeout(TimePoint now) const {
    Duration soonest = Duration::max();
    for (const Connection& connection : connections_) {
      for (const Way* way : {&connection.up, &connection.down}) {
        if (!way->pieces.empty()) soonest = std::min(soonest, way->pieces.front().due - now);
      }
    }
    return soonest == Duration::max() ? -1 : std::max(1, static_cast<int>(Milliseconds(soonest)) + 1);
  }

  void Run() {
    while (!stopping_) {
      std::vector<pollfd> polls = {{listener_, POLLIN, 0}, {wake_[0], POLLIN, 0}};
      for (const Connection& connection : connections_) {
        for (const Way* way : {&connection.up, &connection.down}) {
          const bool full = way->pieces.size() > 64;
          polls.push_back({way->ended || full ? -1 : way->from, POLLIN, 0});
        }
      }
      poll(polls.data(), polls.size(), Timeout(std::chrono::steady_clock::now()));
      char drained[64];
      while (read(wake_[0], drained, sizeof drained) > 0) {
      }
      const bool cut_all = cut_all_.exchange(false);
      size_t at = 2;
      for (Connection& connection : connections_) {
        if (cut_all) connection.gone = true;
        for (Way* way : {&connection.up, &connection.down}) {
          const bool readable = polls[at++].revents != 0;
          if (readable && !connection.gone && !way->ended) Read(connection, *way);
          if (!connection.gone) Write(connection, *way, std::chrono::steady_clock::now());
        }
      }
      std::erase_if(connections_, [](const Connection& connection) {
        const bool done = connection.gone || (connection.up.told && connection.down.told);
        if (done) Reset(connection.up.from), Reset(connection.down.from);
        return done;
      });
      if (polls[0].revents != 0) Accept();
    }
    for (const Connection& connection : connections_) Reset(connection.up.from), Reset(connection.down.from);
  }

  const int server_port_;
  int port_ = 0, listener_ = -1, wake_[2] = {-1, -1};
  std::atomic<bool> stopping_ = false, cut_all_ = false;
  std::atomic<int> accepted_ = 0, faults_ = 0;
  std::mutex mutex_;
  Fault fault_ = Fault::kNone;
  int within_bytes_ = 0;
  Random random_;
  std::list<Connection> connections_;
  std::thread thread_;
};

}  // namespace patella::integration
