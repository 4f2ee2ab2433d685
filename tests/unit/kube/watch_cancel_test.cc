// A thousand watches of the REST client, cancelled at every stage, against a server of this process whose watches
// never end. Run under the tsan preset it shows that cancelling races with nothing.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "lib/base/random.h"
#include "lib/kube/kubeconfig.h"
#include "lib/kube/rest_client.h"
#include "tests/unit/seed.h"

namespace patella::kube {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Answers every request with a watch of 50 events that stays open. A thread a connection, as many as there are watches at once.
class TalkingServer {
 public:
  TalkingServer() {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 128) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::abort();
    }
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Accept(); });
  }
  ~TalkingServer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  int open() const { return open_; }
  int served() const { return served_; }

 private:
  void Accept() {
    std::vector<std::thread> threads;
    for (int fd; (fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
      ++open_;
      ++served_;
      threads.emplace_back([this, fd] {
        Talk(fd);
        close(fd);
        --open_;
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  static void Talk(int fd) {
    char request[8192];
    if (recv(fd, request, sizeof request, 0) <= 0) return;
    const auto say = [fd](const std::string& text) {
      return send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
    };
    if (!say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")) return;
    for (int version = 1; version <= 50; ++version) {
      const std::string line =
          R"({"type":"MODIFIED","object":{"metadata":{"name":"a","namespace":"n","resourceVersion":")" +
          std::to_string(version) + "\"}}}\n";
      char size[16];
      std::snprintf(size, sizeof size, "%zx\r\n", line.size());
      if (!say(size + line + "\r\n")) return;
    }
    while (recv(fd, request, sizeof request, 0) > 0) {  // until the client has gone
    }
  }

  int listener_ = -1, port_ = 0;
  std::atomic<int> open_ = 0, served_ = 0;
  std::thread thread_;
};

TEST(WatchCancelTest, AThousandCancelledWatchesLeaveNothingBehind) {
  SteadyClock clock;
  TalkingServer server;
  ClusterAccess access;
  access.server = server.url();
  access.source = "the test";
  const auto credentials = *Credentials::Load(access, clock);
  const auto transport = *MakeTransport(credentials);
  RestClient client(transport.get(), credentials, clock);

  std::atomic<int> cancelled = 0;
  const auto use = [&](uint64_t seed) {
    Random random(seed);
    for (int i = 0; i < 250; ++i) {
      const std::unique_ptr<WatchStream> watch = client.Watch(kConfigMaps, {.namespace_name = "n"});
      const int64_t events = random.UniformInt(0, 3);
      for (int64_t seen = 0; seen < events; ++seen) {
        const auto event = watch->Next(seconds(20));
        ASSERT_TRUE(event.ok()) << event.status();
        ASSERT_EQ(event->type, WatchEventType::kModified);
        ASSERT_EQ(event->object->resource_version(), std::to_string(seen + 1));
      }
      switch (random.UniformInt(0, 2)) {
        case 0:  // by another thread, while this one reads
        {
          std::thread other([&] { watch->Cancel(); });
          absl::Status status;
          while (status.ok()) status = watch->Next(seconds(20)).status();
          EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
          other.join();
          break;
        }
        case 1:
          watch->Cancel();
          EXPECT_EQ(watch->Next(seconds(20)).status().code(), absl::StatusCode::kCancelled);
          break;
        default:  // by the destructor
          break;
      }
      ++cancelled;
    }
  };
  std::vector<std::thread> users;
  const uint64_t first = Seed(1);
  for (uint64_t seed = first; seed < first + 4; ++seed) users.emplace_back(use, seed);
  for (std::thread& user : users) user.join();
  EXPECT_EQ(cancelled, 1000);
  for (int i = 0; i < 2000 && server.open() > 0; ++i) std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(server.open(), 0) << "of " << server.served() << " connections";
  const auto again = client.Watch(kConfigMaps, {.namespace_name = "n"});
  EXPECT_TRUE(again->Next(seconds(20)).ok());
}

}  // namespace
}  // namespace patella::kube
