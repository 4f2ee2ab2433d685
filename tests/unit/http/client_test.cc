// The client over real sockets, against our own server and against servers that misbehave.
#include "lib/http/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/text.h"
#include "tests/unit/http/testing.h"

namespace patella::http {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

using SharedExchange = std::shared_ptr<Exchange>;

void Echo(Request request, SharedExchange exchange) {
  exchange->Send({200, {}, StrCat(request.method, " ", request.target, " ", request.body)});
}

struct Outcome {
  absl::Status status;
  Response response;
};

// A client on its own loop thread; Get waits for the whole answer.
class ClientThread {
 public:
  explicit ClientThread(ClientOptions options) {
    threads_.Do([&] { client_ = Client::Create(threads_.loop, options); });
  }
  ~ClientThread() {
    threads_.Do([&] { client_.reset(); });
  }
  std::future<Outcome> Begin(Request request) {
    auto promise = std::make_shared<std::promise<Outcome>>();
    threads_.Do([&] {
      auto outcome = std::make_shared<Outcome>();
      CallHandlers handlers;
      handlers.on_head = [outcome](const Response& head) { outcome->response = head; };
      handlers.on_data = [outcome](std::string_view bytes) { outcome->response.body.append(bytes); };
      handlers.on_done = [outcome, promise](const absl::Status& status) {
        outcome->status = status;
        promise->set_value(*outcome);
      };
      client_->Start(std::move(request), std::move(handlers));
    });
    return promise->get_future();
  }
  Outcome Get(std::string target) { return WaitFor(Begin({.target = std::move(target)})); }
  Client& client() { return *client_; }
  void Do(std::function<void()> fn) { threads_.Do(std::move(fn)); }

 private:
  LoopThread threads_;
  std::unique_ptr<Client> client_;
};

TEST(ClientTest, AThousandRequestsOverOneConnection) {
  std::set<std::string> peers;
  ServerThread server([&](Request request, SharedExchange exchange) {
    peers.insert(request.peer);
    Echo(request, exchange);
  });
  ClientThread client({.port = server.port});
  for (int i = 0; i < 1000; ++i) {
    const Outcome outcome = client.Get(StrCat("/", i));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    ASSERT_EQ(outcome.response.body, StrCat("GET /", i, " "));
  }
  server.Stop();
  EXPECT_EQ(peers.size(), 1u);
}

TEST(ClientTest, ManyCallsAtOnceEachGetTheirOwnAnswer) {
  ServerThread server(Echo);
  ClientThread client({.port = server.port});
  std::vector<std::future<Outcome>> calls;
  for (int i = 0; i < 100; ++i)
    calls.push_back(client.Begin({.method = "POST", .target = StrCat("/", i), .body = "x"}));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(WaitFor(std::move(calls[i])).response.body, StrCat("POST /", i, " x"));
}

TEST(ClientTest, StreamsInOrder) {
  ServerThread server([](Request, SharedExchange exchange) {
    exchange->StartStream(200, {});
    for (int i = 0; i < 500; ++i) exchange->Write(StrCat(i, ";"));
    exchange->Finish();
  });
  ClientThread client({.port = server.port});
  std::string expected;
  for (int i = 0; i < 500; ++i) StrAppend(&expected, i, ";");
  EXPECT_EQ(client.Get("/").response.body, expected);
}

TEST(ClientTest, AStaleConnectionIsRetriedOnce) {
  RawListener listener;
  ClientThread client({.port = listener.port});
  auto first = client.Begin({.target = "/1"});
  RawSocket one = listener.Accept();
  one.ReadUntil("\r\n\r\n");
  one.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(WaitFor(std::move(first)).status.ok());
  auto second = client.Begin({.target = "/2"});
  EXPECT_THAT(one.ReadUntil("\r\n\r\n"), HasSubstr("GET /2 "));  // on the kept connection,
  one.Reset();                                                   // which breaks before a byte of the answer
  RawSocket two = listener.Accept();
  EXPECT_THAT(two.ReadUntil("\r\n\r\n"), HasSubstr("GET /2 "));
  two.Close();  // a fresh connection that breaks is a failure
  EXPECT_EQ(WaitFor(std::move(second)).status.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(listener.HasWaiting());
}

TEST(ClientTest, IsNotRetriedAfterAByteOfTheAnswer) {
  RawListener listener;
  ClientThread client({.port = listener.port});
  auto first = client.Begin({.target = "/1"});
  RawSocket one = listener.Accept();
  one.ReadUntil("\r\n\r\n");
  one.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(WaitFor(std::move(first)).status.ok());
  auto second = client.Begin({.target = "/2"});
  one.ReadUntil("\r\n\r\n");
  one.Send("H");
  one.Close();
  EXPECT_EQ(WaitFor(std::move(second)).status.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(listener.HasWaiting());
}

TEST(ClientTest, AConnectionThatTheServerClosedWhileIdleIsNotUsed) {
  RawListener listener;
  ClientThread client({.port = listener.port});
  auto first = client.Begin({.target = "/1"});
  RawSocket one = listener.Accept();
  one.ReadUntil("\r\n\r\n");
  one.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(WaitFor(std::move(first)).status.ok());
  one.Close();
  auto second = client.Begin({.target = "/2"});
  RawSocket two = listener.Accept();
  two.ReadUntil("\r\n\r\n");
  two.Send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end");
  two.Close();
  EXPECT_EQ(WaitFor(std::move(second)).response.body, "until the end");
}

TEST(ClientTest, AStreamThatBreaksOffIsUnavailableNotComplete) {
  RawListener listener;
  ClientThread client({.port = listener.port});
  auto call = client.Begin({});
  RawSocket one = listener.Accept();
  one.ReadUntil("\r\n\r\n");
  one.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  one.Close();
  const Outcome outcome = WaitFor(std::move(call));
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(outcome.response.body, "abc");
}

TEST(ClientTest, SkipsInterimAnswersAndRefusesGarbage) {
  RawListener listener;
  ClientThread client({.port = listener.port});
  auto call = client.Begin({.method = "POST", .body = "x"});
  RawSocket one = listener.Accept();
  one.ReadUntil("\r\n\r\nx");
  one.Send(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: "
      "2\r\n\r\nno");
  const Outcome outcome = WaitFor(std::move(call));
  EXPECT_EQ(outcome.response.status, 404);
  EXPECT_EQ(outcome.response.body, "no");
  one.Close();
  auto garbage = client.Begin({});
  RawSocket two = listener.Accept();
  two.Send("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  EXPECT_EQ(WaitFor(std::move(garbage)).status.code(), absl::StatusCode::kUnavailable);
}

TEST(ClientTest, HeadHasNoBodyAndTheConnectionIsKept) {
  ServerThread server(Echo);
  ClientThread client({.port = server.port});
  const Outcome head = WaitFor(client.Begin({.method = "HEAD", .target = "/h"}));
  EXPECT_EQ(head.response.headers.Get("Content-Length"), "8");
  EXPECT_EQ(head.response.body, "");
  EXPECT_EQ(client.Get("/g").response.body, "GET /g ");
}

TEST(ClientTest, NobodyListeningIsUnavailableAndNamesTheAddress) {
  int port = 0;
  {
    RawListener listener;
    port = listener.port;
  }
  ClientThread client({.port = port});
  const Outcome outcome = client.Get("/");
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(outcome.status.message()), HasSubstr(StrCat("127.0.0.1:", port)));
}

TEST(ClientTest, ASilentServerIsDeadlineExceeded) {
  RawListener listener;
  ClientThread client({.port = listener.port, .first_byte_timeout = std::chrono::milliseconds(20)});
  auto call = client.Begin({});
  RawSocket one = listener.Accept();
  EXPECT_EQ(WaitFor(std::move(call)).status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ClientTest, AStreamThatFallsSilentIsDeadlineExceeded) {
  RawListener listener;
  ClientThread client({.port = listener.port, .read_timeout = std::chrono::milliseconds(20)});
  auto call = client.Begin({});
  RawSocket one = listener.Accept();
  one.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  EXPECT_EQ(WaitFor(std::move(call)).status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ClientTest, AHeaderWithALineBreakIsNotSent) {
  RawListener listener;
  ClientThread client({.port = listener.port});
  EXPECT_EQ(WaitFor(client.Begin({.headers = {{"X", "a\r\nY: b"}}})).status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WaitFor(client.Begin({.target = "/a HTTP/1.1\r\nX: y"})).status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(listener.HasWaiting());
}

TEST(ClientTest, CancelClosesTheConnectionAndOnlyDoneFollows) {
  std::promise<void> closed;
  ServerThread server([&](Request, SharedExchange exchange) {
    exchange->OnClose([&, exchange] { closed.set_value(); });
    exchange->StartStream(200, {});
    exchange->Write("first");
  });
  ClientThread client({.port = server.port});
  std::promise<absl::Status> done;
  int pieces_after_cancel = 0;
  bool inside_cancel = false;
  client.Do([&] {
    auto call = std::make_shared<std::shared_ptr<Call>>();
    auto cancelled = std::make_shared<bool>(false);
    CallHandlers handlers;
    handlers.on_data = [&, call, cancelled](std::string_view) {
      if (*cancelled) ++pieces_after_cancel;
      *cancelled = true;
      inside_cancel = true;
      (*call)->Cancel();
      inside_cancel = false;
      call->reset();
    };
    handlers.on_done = [&](const absl::Status& status) {
      EXPECT_FALSE(inside_cancel);
      done.set_value(status);
    };
    *call = client.client().Start({}, std::move(handlers));
  });
  EXPECT_EQ(WaitFor(done.get_future()).code(), absl::StatusCode::kCancelled);
  WaitFor(closed.get_future());
  EXPECT_EQ(pieces_after_cancel, 0);
}

TEST(ClientTest, PauseHoldsBackTheServerAndResumeGoesOn) {
  constexpr size_t kSize = 32 << 20;
  std::promise<SharedExchange> begun;
  ServerThread server([&](Request, SharedExchange exchange) {
    exchange->StartStream(200, {});
    exchange->Write(std::string(kSize, 'x'));
    exchange->Finish();
    begun.set_value(std::move(exchange));
  });
  ClientThread client({.port = server.port});
  std::promise<void> paused, done;
  size_t received = 0;
  std::shared_ptr<Call> call;
  client.Do([&] {
    CallHandlers handlers;
    handlers.on_data = [&](std::string_view bytes) {
      if (received == 0) {
        call->Pause();
        paused.set_value();
      }
      received += bytes.size();
    };
    handlers.on_done = [&](const absl::Status&) { done.set_value(); };
    call = client.client().Start({}, std::move(handlers));
  });
  const SharedExchange exchange = WaitFor(begun.get_future());
  WaitFor(paused.get_future());
  client.Do([&] { EXPECT_LE(received, 64u << 10); });
  server.Do([] {});
  EXPECT_GT(exchange->pending_bytes(), 0u);
  client.Do([&] { EXPECT_LE(received, 64u << 10); });
  client.Do([&] { call->Resume(); });
  WaitFor(done.get_future());
  client.Do([&] { EXPECT_EQ(received, kSize); });
}

TEST(ClientTest, TheClientMayGoBeforeItsCalls) {
  RawListener listener;
  LoopThread threads;
  std::promise<absl::Status> done;
  threads.Do([&] {
    const auto client = Client::Create(threads.loop, {.port = listener.port});
    CallHandlers handlers;
    handlers.on_done = [&](const absl::Status& status) { done.set_value(status); };
    client->Start({}, std::move(handlers));
  });
  RawSocket one = listener.Accept();
  one.ReadUntil("\r\n\r\n");
  one.Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(WaitFor(done.get_future()).ok());
  EXPECT_EQ(one.ReadToEnd(), "");  // not kept: there is no pool any more
}

TEST(ClientTest, ALoopCanBeDestroyedWithCallsInFlight) {
  RawListener listener;
  std::shared_ptr<RawSocket> one;
  const auto held = std::make_shared<int>(1);
  {
    LoopThread threads;
    threads.Do([&] {
      CallHandlers handlers;
      handlers.on_done = [held](const absl::Status&) { ADD_FAILURE() << "ran after the loop"; };
      Client::Create(threads.loop, {.port = listener.port})->Start({}, std::move(handlers));
    });
    one = std::make_shared<RawSocket>(listener.Accept());
    one->ReadUntil("\r\n\r\n");
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST(FetchTest, ReadsAnAnswerWhole) {
  ServerThread server(Echo);
  const auto response = Fetch(UrlOf(server.port, "/path?q"), {.method = "POST", .body = "b"});
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->body, "POST /path?q b");
  const auto by_name = Fetch(StrCat("http://localhost:", server.port, "/n"));
  ASSERT_TRUE(by_name.ok()) << by_name.status();
  EXPECT_EQ(by_name->body, "GET /n ");
}

TEST(FetchTest, GivesUpAfterTheTimeout) {
  RawListener listener;
  EXPECT_EQ(Fetch(UrlOf(listener.port), {}, std::chrono::milliseconds(20)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Fetch("nonsense").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace patella::http
