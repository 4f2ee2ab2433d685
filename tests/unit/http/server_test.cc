// The server over real sockets on loopback.
#include "lib/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "lib/base/text.h"
#include "tests/unit/http/testing.h"

namespace patella::http {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

using SharedExchange = std::shared_ptr<Exchange>;

void Echo(Request request, SharedExchange exchange) {
  exchange->Send(
      {200, {{"Content-Type", "text/plain"}}, StrCat(request.method, " ", request.target, " ", request.body)});
}

constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
constexpr std::string_view kGetAndClose = "GET /z HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

TEST(ServerTest, KeepsTheConnectionForTheNextRequest) {
  ServerThread server(Echo);
  RawSocket client(server.port);
  for (int i = 0; i < 3; ++i) {
    client.Send(kGet);
    EXPECT_THAT(client.ReadUntil("GET /a "), HasSubstr("HTTP/1.1 200 OK\r\n"));
  }
}

TEST(ServerTest, AnswersAThousandRequestsOneAfterTheOther) {
  ServerThread server(Echo);
  RawSocket client(server.port);
  for (int i = 0; i < 1000; ++i) {
    const std::string target = StrCat("/n", i, " ");
    client.Send(StrCat("GET ", target, "HTTP/1.1\r\nHost: x\r\n\r\n"));
    ASSERT_THAT(client.ReadUntil(StrCat("GET ", target)), HasSubstr("200 OK"));
  }
}

TEST(ServerTest, AnswersPipelinedRequestsInOrder) {
  std::promise<SharedExchange> waiting;
  ServerThread server([&](Request request, SharedExchange exchange) {
    if (request.target == "/slow") {
      waiting.set_value(exchange);
      return;
    }
    Echo(request, exchange);
  });
  RawSocket client(server.port);
  client.Send(StrCat("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", kGet, kGetAndClose));
  const SharedExchange slow = WaitFor(waiting.get_future());
  server.Do([] {});
  slow->Send({200, {}, "slow one"});
  const std::string all = client.ReadToEnd();
  const size_t first = all.find("slow one");
  const size_t second = all.find("GET /a ");
  const size_t third = all.find("GET /z ");
  EXPECT_NE(third, std::string::npos);
  EXPECT_LT(first, second);
  EXPECT_LT(second, third);
}

TEST(ServerTest, FlushesTheHeadOfAStreamBeforeItsFirstByte) {
  std::promise<SharedExchange> begun;
  ServerThread server([&](Request request, SharedExchange exchange) {
    if (request.target == "/z") return Echo(request, exchange);
    exchange->StartStream(200, {{"Content-Type", "text/event-stream"}});
    begun.set_value(std::move(exchange));
  });
  RawSocket client(server.port);
  client.Send(kGet);
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), HasSubstr("Transfer-Encoding: chunked"));
  const SharedExchange exchange = WaitFor(begun.get_future());
  exchange->Write("one");
  EXPECT_EQ(client.ReadUntil("one\r\n"), "3\r\none\r\n");
  exchange->Write("two");
  EXPECT_EQ(client.ReadUntil("two\r\n"), "3\r\ntwo\r\n");
  exchange->Finish();
  EXPECT_EQ(client.ReadUntil("0\r\n\r\n"), "0\r\n\r\n");
  client.Send(kGetAndClose);  // the connection can be used again
  EXPECT_THAT(client.ReadToEnd(), EndsWith("GET /z "));
}

TEST(ServerTest, WritesFromAnotherThreadStayInOrder) {
  std::promise<SharedExchange> begun;
  ServerThread server([&](Request, SharedExchange exchange) { begun.set_value(std::move(exchange)); });
  RawSocket client(server.port);
  client.Send(kGetAndClose);
  const SharedExchange exchange = WaitFor(begun.get_future());
  exchange->StartStream(200, {});
  std::string expected;
  for (int i = 0; i < 2000; ++i) {
    exchange->Write(StrCat(i, ","));
    const std::string piece = StrCat(i, ",");
    StrAppend(&expected, Hex(piece.size()), "\r\n", piece, "\r\n");
  }
  exchange->Finish();
  EXPECT_THAT(client.ReadToEnd(), EndsWith(StrCat("\r\n\r\n", expected, "0\r\n\r\n")));
}

// The client leaves while the handler has written nothing at all.
void ExpectLeavingIsNoticed(const std::function<void(RawSocket&)>& leave, bool begin_stream) {
  std::promise<void> arrived, closed, done;
  bool close_came_first = false;
  bool has_closed = false;
  SharedExchange kept;
  ServerThread server([&](Request, SharedExchange exchange) {
    if (begin_stream) exchange->StartStream(200, {});
    exchange->OnClose([&] {
      has_closed = true;
      closed.set_value();
    });
    exchange->OnDone([&] {
      close_came_first = has_closed;
      done.set_value();
    });
    kept = std::move(exchange);
    arrived.set_value();
  });
  RawSocket client(server.port);
  client.Send(kGet);
  WaitFor(arrived.get_future());
  leave(client);
  WaitFor(closed.get_future());
  WaitFor(done.get_future());
  EXPECT_TRUE(close_came_first);
  server.Do([&] {
    EXPECT_EQ(server.server->open_connections(), 0);
    kept->Write("nobody reads this");
    EXPECT_EQ(kept->pending_bytes(), 0u);
    kept->Finish();
  });
  std::promise<void> late;  // registered when it is over: runs at once
  kept->OnClose([&] { late.set_value(); });
  WaitFor(late.get_future());
  kept.reset();
}

TEST(ServerTest, NoticesADisconnectWithoutWriting) {
  ExpectLeavingIsNoticed([](RawSocket& client) { client.Close(); }, false);
  ExpectLeavingIsNoticed([](RawSocket& client) { client.Close(); }, true);
}
TEST(ServerTest, NoticesAHalfCloseWithoutWriting) {
  ExpectLeavingIsNoticed([](RawSocket& client) { client.HalfClose(); }, true);
}
TEST(ServerTest, NoticesAResetWithoutWriting) {
  ExpectLeavingIsNoticed([](RawSocket& client) { client.Reset(); }, true);
}
TEST(ServerTest, NoticesADisconnectBehindManyPipelinedBytes) {
  ExpectLeavingIsNoticed(
      [](RawSocket& client) {
        for (int i = 0; i < 3000; ++i) client.Send(kGet);  // 87 kB, more than are kept
        client.HalfClose();
      },
      true);
}

TEST(ServerTest, DoneComesWithoutCloseWhenTheAnswerIsComplete) {
  std::promise<bool> done;
  bool closed = false;
  ServerThread server([&](Request, SharedExchange exchange) {
    exchange->OnClose([&] { closed = true; });
    exchange->OnDone([&] { done.set_value(closed); });
    exchange->Send({200, {}, "ok"});
  });
  RawSocket client(server.port);
  client.Send(kGetAndClose);
  EXPECT_THAT(client.ReadToEnd(), EndsWith("ok"));
  EXPECT_FALSE(WaitFor(done.get_future()));
}

TEST(ServerTest, ASlowReaderHoldsBackTheWriterAndDrainComesWhenItHasRead) {
  std::promise<SharedExchange> begun;
  std::atomic<int> drained{0};
  ServerThread server([&](Request, SharedExchange exchange) {
    exchange->StartStream(200, {});
    exchange->OnDrain([&] { ++drained; });
    begun.set_value(std::move(exchange));
  });
  RawSocket client(server.port, 65536);
  client.Send(kGetAndClose);
  const SharedExchange exchange = WaitFor(begun.get_future());
  client.ReadUntil("\r\n\r\n");
  const size_t size = 16 << 20;  // more than any socket buffer takes
  server.Do([] {});
  exchange->Write(std::string(size, 'x'));
  EXPECT_GT(exchange->pending_bytes(), 0u);
  server.Do([] {});
  EXPECT_GT(exchange->pending_bytes(), 0u);
  const int before = drained;
  exchange->Finish();
  EXPECT_GT(client.ReadToEnd().size(), size);
  std::promise<void> done;
  exchange->OnDone([&] { done.set_value(); });
  WaitFor(done.get_future());
  EXPECT_EQ(exchange->pending_bytes(), 0u);
  EXPECT_EQ(drained, before);  // the end of the answer is OnDone's, not OnDrain's
}

TEST(ServerTest, DrainComesEachTimeThePendingBytesFallToZero) {
  std::promise<void> third;
  int drained = 0;
  ServerThread server([&](Request, SharedExchange exchange) {
    exchange->StartStream(200, {});
    exchange->OnDrain([&, exchange] {
      EXPECT_EQ(exchange->pending_bytes(), 0u);
      if (++drained == 3) third.set_value();
      drained < 3 ? exchange->Write("more") : exchange->Finish();
    });
  });
  RawSocket client(server.port);
  client.Send(kGetAndClose);
  client.ReadToEnd();
  WaitFor(third.get_future());
}

TEST(ServerTest, AReaderThatNeverReadsIsResetAfterTheWriteTimeout) {
  std::promise<void> closed;
  SharedExchange kept;
  ServerThread server(
      [&](Request, SharedExchange exchange) {
        exchange->OnClose([&] { closed.set_value(); });
        exchange->Send({200, {}, std::string(32 << 20, 'x')});
      },
      {.write_timeout = std::chrono::milliseconds(50)});
  RawSocket client(server.port, 4096);
  client.Send(kGet);
  WaitFor(closed.get_future());
}

TEST(ServerTest, AbortBreaksTheStreamSoThatTheClientSeesIt) {
  ServerThread server([&](Request, SharedExchange exchange) {
    exchange->StartStream(200, {});
    exchange->Write("half of it");
    exchange->OnDrain([exchange] { exchange->Abort(); });
  });
  RawSocket client(server.port);
  client.Send(kGet);
  EXPECT_THAT(client.ReadToEnd(), AllOf(Not(HasSubstr("0\r\n\r\n")), EndsWith("<reset>")));
}

TEST(ServerTest, AnExchangeDroppedWithoutAnAnswerIsA500) {
  ServerThread server([](Request, SharedExchange) {});
  RawSocket client(server.port);
  client.Send(kGet);
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 500 "));
}

TEST(ServerTest, AStreamDroppedInTheMiddleIsBrokenOffNotEnded) {
  ServerThread server([](Request, SharedExchange exchange) { exchange->StartStream(200, {}); });
  RawSocket client(server.port);
  client.Send(kGet);
  EXPECT_THAT(client.ReadToEnd(), Not(HasSubstr("0\r\n\r\n")));
}

TEST(ServerTest, HeadGetsTheHeadersWithoutTheBody) {
  ServerThread server(Echo);
  RawSocket client(server.port);
  client.Send("HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.ReadToEnd(), AllOf(HasSubstr("Content-Length: 8\r\n"), EndsWith("\r\n\r\n")));
}

TEST(ServerTest, Expect100ContinueIsAnsweredBeforeTheBodyComes) {
  ServerThread server(Echo);
  RawSocket client(server.port);
  client.Send("POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send("body");
  EXPECT_THAT(client.ReadToEnd(), EndsWith("POST /p body"));
}

TEST(ServerTest, ReadsAChunkedBody) {
  ServerThread server(Echo);
  RawSocket client(server.port);
  client.Send(
      "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: "
      "close\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
  EXPECT_THAT(client.ReadToEnd(), EndsWith("POST /p abcde"));
}

TEST(ServerTest, ReadsARequestThatComesByteByByte) {
  ServerThread server(Echo);
  RawSocket client(server.port);
  for (const char c : std::string("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc")) {
    client.Send(std::string_view(&c, 1));
  }
  EXPECT_THAT(client.ReadToEnd(), EndsWith("POST /p abc"));
}

TEST(ServerTest, AnHttp10ClientGetsAPlainBodyAndTheEnd) {
  ServerThread server([](Request, SharedExchange exchange) {
    exchange->StartStream(200, {});
    exchange->Write("one");
    exchange->Write("two");
    exchange->Finish();
  });
  RawSocket client(server.port);
  client.Send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(client.ReadToEnd(), AllOf(Not(HasSubstr("chunked")), EndsWith("\r\n\r\nonetwo")));
}

TEST(ServerTest, ALargeBodyIsRefusedWithAnAnswerThatTheSenderCanStillRead) {
  ServerThread server(Echo, {.max_body_bytes = 1000});
  RawSocket client(server.port);
  client.Send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
  client.Send(std::string(300000, 'x'));
  EXPECT_THAT(client.ReadToEnd(), StartsWith("HTTP/1.1 413 "));
}

TEST(ServerTest, ARequestThatTakesTooLongIs408) {
  ServerThread server(Echo, {.header_timeout = std::chrono::milliseconds(30)});
  RawSocket client(server.port);
  client.Send("GET / HTTP/1.1\r\nHo");
  EXPECT_THAT(client.ReadToEnd(), StartsWith("HTTP/1.1 408 "));
}

TEST(ServerTest, AnIdleConnectionIsClosedWithoutAWord) {
  ServerThread server(Echo, {.idle_timeout = std::chrono::milliseconds(30)});
  RawSocket never_used(server.port);
  EXPECT_EQ(never_used.ReadToEnd(), "");
  RawSocket used(server.port);
  used.Send(kGet);
  EXPECT_THAT(used.ReadToEnd(), EndsWith("GET /a "));
}

TEST(ServerTest, ConnectionsOverTheLimitGet503AndTheOthersGoOn) {
  ServerThread server(Echo, {.max_connections = 1});
  RawSocket first(server.port);
  first.Send(kGet);
  first.ReadUntil("GET /a ");
  RawSocket second(server.port);
  second.Send(kGet);
  EXPECT_THAT(second.ReadToEnd(), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("Retry-After: ")));
  first.Send(kGetAndClose);
  EXPECT_THAT(first.ReadToEnd(), EndsWith("GET /z "));
}

TEST(ServerTest, ATakenPortIsAnErrorThatNamesTheAddress) {
  ServerThread server(Echo);
  Loop loop;
  const auto second = Server::Listen(loop, {.port = server.port}, Echo);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(StrCat("127.0.0.1:", server.port)));
  EXPECT_EQ(Server::Listen(loop, {.address = "localhost"}, Echo).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ServerTest, AHeaderThatWouldBreakOutOfItsFieldIsNotSent) {
  ServerThread server([](Request, SharedExchange exchange) {
    exchange->Send({200, {{"X", "a\r\nInjected: yes"}}, "body"});
  });
  RawSocket client(server.port);
  client.Send(kGetAndClose);
  EXPECT_THAT(client.ReadToEnd(), AllOf(StartsWith("HTTP/1.1 500 "), Not(HasSubstr("Injected"))));
}

TEST(ServerTest, StopAcceptingLetsTheAnswerInProgressEndAndThenCloses) {
  std::promise<SharedExchange> begun;
  ServerThread server([&](Request, SharedExchange exchange) { begun.set_value(std::move(exchange)); });
  RawSocket idle(server.port);
  RawSocket busy(server.port);
  busy.Send(kGet);
  SharedExchange exchange = WaitFor(begun.get_future());
  server.Do([&] { server.server->StopAccepting(); });
  EXPECT_EQ(idle.ReadToEnd(), "");
  exchange->Send({200, {}, "to the end"});
  EXPECT_THAT(busy.ReadToEnd(), AllOf(HasSubstr("Connection: close"), EndsWith("to the end")));
}

TEST(ServerTest, StoppingWithOpenStreamsClosesThemAndTellsTheirOwners) {
  std::promise<void> begun, closed, done;
  SharedExchange kept;
  ServerThread server([&](Request, SharedExchange exchange) {
    exchange->StartStream(200, {});
    exchange->OnClose([&] { closed.set_value(); });
    exchange->OnDone([&] { done.set_value(); });
    kept = std::move(exchange);
    begun.set_value();
  });
  RawSocket client(server.port);
  client.Send(kGet);
  WaitFor(begun.get_future());
  server.Stop();
  WaitFor(closed.get_future());
  WaitFor(done.get_future());
  EXPECT_THAT(client.ReadToEnd(), Not(HasSubstr("0\r\n\r\n")));
  kept->Write("too late");
}

TEST(ServerTest, ALoopCanBeDestroyedWithExchangesAndTimersPending) {
  SharedExchange kept;
  {
    std::promise<void> begun;
    ServerThread server([&](Request, SharedExchange exchange) {
      exchange->OnClose([exchange] {});  // a cycle that only the end of the connection breaks
      kept = std::move(exchange);
      begun.set_value();
    });
    RawSocket client(server.port);
    client.Send(kGet);
    WaitFor(begun.get_future());
  }
  kept->Write("the loop is gone");
  kept.reset();
}

}  // namespace
}  // namespace patella::http
