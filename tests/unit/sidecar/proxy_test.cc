// The proxy over real loopback sockets, between a real client and a fake engine that lives on the same loop.
#include "sidecar/proxy/proxy.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace patella::sidecar {
namespace {

using http::Exchange;
using http::Headers;
using http::Request;
using http::Response;

constexpr char kToken[] = "data:{\"token\":{\"id\":1,\"text\":\"a\"}}\n\n";

// What a client saw of one answer.
struct Seen {
  int status = 0;
  Headers headers;
  std::string body;
  bool done = false;
  absl::Status ended;
  std::shared_ptr<http::Call> call;
};

class ProxyTest : public testing::Test {
 protected:
  void StartAll(Budgets budgets, QueueOptions queue = {}) {
    http::ServerOptions options;
    auto engine = http::Server::Listen(loop_, options, [this](Request request, std::shared_ptr<Exchange> exchange) {
      engine_requests_.push_back(request);
      engine_handler_(request, std::move(exchange));
    });
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
    ProxyOptions proxy;
    proxy.engine.port = engine_->port();
    proxy.engine.connect_timeout = std::chrono::seconds(2);
    proxy.queue = queue;
    proxy.path_prefix = path_prefix_;
    ProxyEvents events;
    events.on_finished = [this](Limiter::Id, const StreamRecord& record) { records_.push_back(record); };
    events.on_refused = [this](Refusal refusal) { refusals_.push_back(refusal); };
    proxy_ = std::make_unique<Proxy>(loop_, proxy, budgets, events);
    proxy_->Open();
    auto front = http::Server::Listen(loop_, options, [this](Request request, std::shared_ptr<Exchange> exchange) {
      proxy_->Handle(std::move(request), std::move(exchange));
    });
    ASSERT_TRUE(front.ok()) << front.status();
    front_ = *std::move(front);
    http::ClientOptions client;
    client.port = front_->port();
    client_ = http::Client::Create(loop_, client);
  }

  Seen& Send(std::string method, std::string target, std::string body = "{\"inputs\":\"x\"}", Headers headers = {}) {
    Seen& seen = *seen_.emplace_back(std::make_unique<Seen>());
    Request request;
    request.method = method;
    request.target = target;
    request.headers = headers;
    if (method == "POST") request.body = body;
    http::CallHandlers handlers;
    handlers.on_head = [&seen](const Response& head) {
      seen.status = head.status;
      seen.headers = head.headers;
    };
    handlers.on_data = [&seen](std::string_view bytes) { seen.body += bytes; };
    handlers.on_done = [&seen](const absl::Status& status) {
      seen.done = true;
      seen.ended = status;
    };
    seen.call = client_->Start(request, handlers);
    return seen;
  }
  Seen& Generate() { return Send("POST", "/generate_stream"); }

  // Runs the loop until `condition` holds; fails after a time that no healthy run needs.
  void RunUntil(std::function<bool()> condition) {
    bool held = false;
    auto check = loop_.Every(std::chrono::milliseconds(1), [&] {
      held = held || condition();
      if (held) loop_.Stop();
    });
    auto give_up = loop_.After(std::chrono::seconds(30), [this] { loop_.Stop(); });
    loop_.Run();
    ASSERT_TRUE(held) << "condition never held";
  }

  // An engine that starts a stream with one token and leaves its end to the test.
  void EngineStreams() {
    engine_handler_ = [this](const Request&, std::shared_ptr<Exchange> exchange) {
      exchange->StartStream(200, {{"Content-Type", "text/event-stream"}});
      exchange->Write(kToken);
      const size_t index = open_streams_.size();
      open_streams_.push_back(exchange);
      exchange->OnClose([this, index] { engine_saw_close_[index] = true; });
    };
  }

  http::Loop loop_;
  std::function<void(const Request&, std::shared_ptr<Exchange>)> engine_handler_;
  std::vector<Request> engine_requests_;
  std::string path_prefix_;  // of the engine
  std::vector<std::shared_ptr<Exchange>> open_streams_;
  std::map<size_t, bool> engine_saw_close_;
  std::vector<StreamRecord> records_;
  std::vector<Refusal> refusals_;
  std::vector<std::unique_ptr<Seen>> seen_;
  std::unique_ptr<http::Server> engine_, front_;
  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<http::Client> client_;
};

TEST_F(ProxyTest, PermitIsHeldUntilTheStreamEnds) {
  EngineStreams();
  StartAll({.requests = 1});
  Seen& first = Generate();
  RunUntil([&] { return first.body.size() == sizeof(kToken) - 1; });
  Seen& second = Generate();
  RunUntil([&] { return second.done; });
  EXPECT_EQ(second.status, 429);
  open_streams_[0]->Write(kToken);
  open_streams_[0]->Finish();
  RunUntil([&] { return first.done && proxy_->limiter().in_flight() == 0; });
  EXPECT_EQ(first.body, std::string(kToken) + kToken);
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_EQ(records_[0].output_tokens, 2);
  Seen& third = Generate();
  RunUntil([&] { return third.status == 200; });
}

TEST_F(ProxyTest, ABatchOfPromptsTakesAsManyPlacesAndOneTooWideTheWholeEngine) {
  EngineStreams();
  StartAll({.requests = 4}, {.max_requests = 1, .max_wait = std::chrono::seconds(20)});
  Seen& batch = Send("POST", "/v1/completions", R"({"prompt":["a","b","c"],"max_tokens":5})");
  RunUntil([&] { return !batch.body.empty(); });
  EXPECT_EQ(proxy_->limiter().in_flight(), 3);
  EXPECT_GE(proxy_->limiter().kv_tokens(), 3 * 5);
  Seen& wide = Send("POST", "/v1/completions", R"({"prompt":[[1,2],[3]],"n":8})");
  RunUntil([&] { return proxy_->limiter().queued() == 1; });
  open_streams_[0]->Finish();
  RunUntil([&] { return !wide.body.empty(); });
  EXPECT_EQ(proxy_->limiter().in_flight(), 16);
  EXPECT_EQ(engine_requests_.size(), 2u);
  EXPECT_EQ(records_.at(0).sequences, 3);
}

TEST_F(ProxyTest, RefusalsCarryRetryAfterAndTheBodyOfTheirDialect) {
  StartAll({.requests = 0});
  Seen& tgi = Generate();
  Seen& openai = Send("POST", "/v1/chat/completions");
  RunUntil([&] { return tgi.done && openai.done; });
  EXPECT_EQ(tgi.status, 429);
  EXPECT_EQ(tgi.headers.Get("Retry-After"), "1");
  EXPECT_NE(tgi.body.find("\"error\":\"Model is overloaded\""), std::string::npos) << tgi.body;
  EXPECT_NE(tgi.body.find("\"error_type\":\"overloaded\""), std::string::npos) << tgi.body;
  EXPECT_EQ(openai.status, 429);
  EXPECT_EQ(openai.headers.Get("Retry-After"), "1");
  EXPECT_NE(openai.body.find("\"message\":\"Model is overloaded\""), std::string::npos) << openai.body;
  EXPECT_TRUE(engine_requests_.empty());
  EXPECT_EQ(proxy_->rejected_total(), 2);
}

TEST_F(ProxyTest, RoutesThatGenerateNothingPassWithoutAPermit) {
  engine_handler_ = [](const Request&, std::shared_ptr<Exchange> exchange) {
    exchange->Send({.status = 200, .headers = {{"Content-Type", "application/json"}}, .body = "{\"ok\":1}"});
  };
  StartAll({.requests = 0});
  Seen& info = Send("GET", "/info?x=1");
  RunUntil([&] { return info.done; });
  EXPECT_EQ(info.status, 200);
  EXPECT_EQ(info.body, "{\"ok\":1}");
  EXPECT_EQ(info.headers.Get("Content-Length"), "8");
  EXPECT_EQ(engine_requests_[0].target, "/info?x=1");
}

TEST_F(ProxyTest, AnEngineBelowAPathGetsEveryRequestThere) {
  engine_handler_ = [](const Request&, std::shared_ptr<Exchange> exchange) { exchange->Send({.status = 200}); };
  path_prefix_ = "/base";
  StartAll({.requests = 1});
  Seen& info = Send("GET", "/info?x=1");
  RunUntil([&] { return info.done; });
  Seen& generate = Generate();
  RunUntil([&] { return generate.done; });
  ASSERT_EQ(engine_requests_.size(), 2u);
  EXPECT_EQ(engine_requests_[0].target, "/base/info?x=1");
  EXPECT_EQ(engine_requests_[1].target, "/base/generate_stream");
  EXPECT_EQ(records_.size(), 1u) << "it took a permit: the route counts without the prefix";
}

TEST_F(ProxyTest, AClientThatLeavesCancelsItsRequestAndFreesItsPermit) {
  EngineStreams();
  StartAll({.requests = 1});
  Seen& gone = Generate();
  RunUntil([&] { return !gone.body.empty(); });
  gone.call->Cancel();
  RunUntil([&] { return engine_saw_close_[0] && proxy_->limiter().in_flight() == 0; });
  ASSERT_EQ(records_.size(), 1u);
  EXPECT_FALSE(records_[0].ok);
  Seen& next = Generate();
  RunUntil([&] { return next.status == 200; });
}

TEST_F(ProxyTest, AClientThatLeavesTheQueueIsForgotten) {
  EngineStreams();
  StartAll({.requests = 1}, {.max_requests = 2, .max_wait = std::chrono::seconds(20)});
  Seen& first = Generate();
  RunUntil([&] { return !first.body.empty(); });
  Seen& waiting = Generate();
  RunUntil([&] { return proxy_->limiter().queued() == 1; });
  waiting.call->Cancel();
  RunUntil([&] { return proxy_->limiter().queued() == 0; });
  open_streams_[0]->Finish();
  RunUntil([&] { return first.done; });
  EXPECT_EQ(engine_requests_.size(), 1u);
}

TEST_F(ProxyTest, WaitingInTheQueueEndsAtItsDeadline) {
  EngineStreams();
  StartAll({.requests = 1}, {.max_requests = 2, .max_wait = std::chrono::milliseconds(30)});
  Seen& first = Generate();
  RunUntil([&] { return !first.body.empty(); });
  Seen& late = Generate();
  RunUntil([&] { return late.done; });
  EXPECT_EQ(late.status, 429);
  ASSERT_EQ(refusals_.size(), 1u);
  EXPECT_EQ(refusals_[0], Refusal::kQueueTimeout);
  EXPECT_EQ(proxy_->limiter().in_flight(), 1);
}

TEST_F(ProxyTest, ARaisedLimitAdmitsTheQueueAtOnceAndALoweredOneCutsNobodyOff) {
  EngineStreams();
  StartAll({.requests = 1}, {.max_requests = 2, .max_wait = std::chrono::seconds(20)});
  Seen& first = Generate();
  RunUntil([&] { return !first.body.empty(); });
  Seen& second = Generate();
  RunUntil([&] { return proxy_->limiter().queued() == 1; });
  proxy_->SetBudgets({.requests = 2});
  RunUntil([&] { return !second.body.empty(); });
  proxy_->SetBudgets({.requests = 1});
  for (auto& stream : open_streams_) stream->Write(kToken);
  for (auto& stream : open_streams_) stream->Finish();
  RunUntil([&] { return first.done && second.done; });
  EXPECT_TRUE(first.ended.ok());
  EXPECT_TRUE(second.ended.ok());
  EXPECT_EQ(second.body, std::string(kToken) + kToken);
}

TEST_F(ProxyTest, AnEngineThatDiesWithinAStreamBreaksTheClientsStream) {
  EngineStreams();
  StartAll({.requests = 1});
  Seen& seen = Generate();
  RunUntil([&] { return !seen.body.empty(); });
  open_streams_[0]->Abort();
  RunUntil([&] { return seen.done; });
  EXPECT_TRUE(absl::IsUnavailable(seen.ended)) << seen.ended;
  RunUntil([&] { return proxy_->limiter().in_flight() == 0; });
}

TEST_F(ProxyTest, AnEngineThatIsGoneIs503WithRetryAfter) {
  StartAll({.requests = 1});
  engine_.reset();
  Seen& seen = Send("POST", "/v1/completions");
  RunUntil([&] { return seen.done; });
  EXPECT_EQ(seen.status, 503);
  EXPECT_EQ(seen.headers.Get("Retry-After"), "5");
  EXPECT_NE(seen.body.find("\"message\""), std::string::npos) << seen.body;
  EXPECT_EQ(proxy_->limiter().in_flight(), 0);
}

TEST_F(ProxyTest, WhileClosedOnlyGenerationAndHealthAreRefused) {
  engine_handler_ = [](const Request&, std::shared_ptr<Exchange> exchange) { exchange->Send({.status = 200}); };
  StartAll({.requests = 1});
  proxy_->Close(Refusal::kNotReady, "calibrating: 40 % done", 12);
  Seen& generate = Generate();
  Seen& health = Send("GET", "/health");
  Seen& models = Send("GET", "/v1/models");
  RunUntil([&] { return generate.done && health.done && models.done; });
  EXPECT_EQ(generate.status, 503);
  EXPECT_EQ(generate.headers.Get("Retry-After"), "12");
  EXPECT_NE(generate.body.find("calibrating: 40 % done"), std::string::npos);
  EXPECT_EQ(health.status, 503);
  EXPECT_EQ(models.status, 200);
}

TEST_F(ProxyTest, ASlowReaderStopsTheReadingUpstreamAndNothingIsLost) {
  // 16 MiB to a client that reads nothing: the engine must be stopped by back-pressure long before it has written all.
  const std::string piece(64 << 10, 'x');
  size_t written = 0;
  const size_t total = 16 << 20;
  std::shared_ptr<Exchange> stream;
  const auto write_more = [&] {
    while (stream->pending_bytes() < (256u << 10) && written < total) {
      stream->Write(piece);
      written += piece.size();
    }
    if (written == total) stream->Finish();
  };
  engine_handler_ = [&](const Request&, std::shared_ptr<Exchange> exchange) {
    stream = exchange;
    exchange->StartStream(200, {{"Content-Type", "text/event-stream"}});
    exchange->OnDrain([&] {
      if (written < total) write_more();
    });
    write_more();
  };
  StartAll({.requests = 1});
  Seen& slow = Generate();
  RunUntil([&] { return slow.status == 200; });
  slow.call->Pause();
  size_t last = 0;
  int unchanged = 0;
  RunUntil([&] {
    unchanged = written == last ? unchanged + 1 : 0;
    last = written;
    return unchanged > 200;
  });
  EXPECT_LT(written, total);
  EXPECT_EQ(proxy_->limiter().in_flight(), 1);
  slow.call->Resume();
  RunUntil([&] { return slow.done; });
  EXPECT_TRUE(slow.ended.ok()) << slow.ended;
  EXPECT_EQ(slow.body.size(), total);
}

TEST_F(ProxyTest, FieldsOfOneHopAreNotPassedOn) {
  engine_handler_ = [](const Request&, std::shared_ptr<Exchange> exchange) {
    exchange->Send({.status = 200,
                    .headers = {{"X-Inner", "1"}, {"Keep-Alive", "timeout=5"}, {"X-Request-Id", "42"}},
                    .body = "{}"});
  };
  StartAll({.requests = 1});
  Seen& seen =
      Send("POST", "/generate", "{}", {{"TE", "trailers"}, {"X-Patella-Hop", "1"}, {"Authorization", "Bearer k"}});
  RunUntil([&] { return seen.done; });
  const Headers& upstream = engine_requests_.at(0).headers;
  EXPECT_FALSE(upstream.Has("TE"));
  EXPECT_FALSE(upstream.Has("X-Patella-Hop"));
  EXPECT_EQ(upstream.Get("Authorization"), "Bearer k");
  EXPECT_FALSE(seen.headers.Has("Keep-Alive"));
  EXPECT_EQ(seen.headers.Get("X-Request-Id"), "42");
}

TEST_F(ProxyTest, AStaleKeepAliveConnectionIsRetriedOnce) {
  engine_handler_ = [](const Request&, std::shared_ptr<Exchange> exchange) {
    exchange->Send({.status = 200, .body = "{}"});
  };
  StartAll({.requests = 1});
  Seen& first = Send("POST", "/generate");
  RunUntil([&] { return first.done; });
  const int port = engine_->port();
  engine_.reset();  // closes the pooled connection; a new engine takes the port
  http::ServerOptions options;
  options.port = port;
  auto engine = http::Server::Listen(loop_, options, [this](Request request, std::shared_ptr<Exchange> exchange) {
    engine_handler_(request, std::move(exchange));
  });
  ASSERT_TRUE(engine.ok()) << engine.status();
  engine_ = *std::move(engine);
  Seen& second = Send("POST", "/generate");
  RunUntil([&] { return second.done; });
  EXPECT_EQ(second.status, 200);
}

}  // namespace
}  // namespace patella::sidecar
