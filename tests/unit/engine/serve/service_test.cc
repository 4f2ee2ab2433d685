// The routes over real loopback sockets, with an executor that always names the next letter and a byte tokenizer.
#include "engine/serve/service.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/http/client.h"

namespace patella::engine {
namespace {

using Json = nlohmann::json;
constexpr int kVocabulary = 128;  // ASCII; 0 is the end

// After token t comes t + 1, 'z' is followed by the end. Can be held at a gate to keep requests in flight.
class LetterExecutor final : public Executor {
 public:
  absl::Status Forward(std::span<const StepItem> items, std::vector<float>* logits) override {
    std::unique_lock lock(mutex_);
    ++begun_;
    wake_.wait(lock, [this] { return open_ || allowed_ > 0; });
    if (!open_) --allowed_;
    logits->clear();
    for (const StepItem& item : items) {
      if (!item.wants_logits) continue;
      const int last = item.tokens.back();
      std::vector<float> row(kVocabulary, 0);
      row[last == 'z' ? 0 : (last + 1) % kVocabulary] = 10;
      logits->insert(logits->end(), row.begin(), row.end());
    }
    return absl::OkStatus();
  }
  int vocab_size() const override { return kVocabulary; }
  Capacity capacity() const override { return {.block_size = 16, .blocks = 256, .max_tokens_per_forward = 64}; }
  void SetOpen(bool open) {
    std::lock_guard lock(mutex_);
    open_ = open;
    wake_.notify_all();
  }
  void AllowOneStep() {
    std::lock_guard lock(mutex_);
    ++allowed_;
    wake_.notify_all();
  }
  int begun() {
    std::lock_guard lock(mutex_);
    return begun_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool open_ = true;
  int allowed_ = 0;  // steps that may pass the closed gate
  int begun_ = 0;
};

class ByteTokenizer final : public Tokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view text, bool, bool) const override { return {text.begin(), text.end()}; }
  std::string TokenBytes(int32_t id, bool special) const override {
    if (id == 0) return special ? "<end>" : "";
    return std::string(1, static_cast<char>(id));
  }
  std::string Decode(const std::vector<int32_t>& ids, bool) const override { return {ids.begin(), ids.end()}; }
  bool IsEndOfGeneration(int32_t id) const override { return id == 0; }
  bool IsSpecial(int32_t id) const override { return id == 0; }
  int vocab_size() const override { return kVocabulary; }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return 0; }
  absl::StatusOr<std::string> ApplyChatTemplate(const std::vector<ChatMessage>& messages, bool) const override {
    std::string text;
    for (const ChatMessage& m : messages) text += m.content;
    return text;
  }
};

class ServiceTest : public testing::Test {
 protected:
  void Start(int max_concurrent = 4) {
    service_ = std::make_unique<Service>(loop_, tokenizer_, options_);
    const Capacity c = executor_.capacity();
    engine_ = std::make_unique<EngineLoop>(
        executor_,
        SchedulerOptions{
            .block_size = c.block_size, .blocks = c.blocks, .max_tokens_per_forward = c.max_tokens_per_forward},
        Limits{.max_concurrent_requests = max_concurrent, .max_batch_prefill_tokens = 64},
        [](int32_t t) { return t == 0; },
        [this](std::vector<Event> events) {
          loop_.Post([this, events = std::move(events)]() mutable { service_->OnEvents(std::move(events)); });
        });
    service_->Attach(*engine_);
    engine_->Start();
    server_ = *http::Server::Listen(loop_, {},
                                    [this](http::Request r, auto e) { service_->Handle(std::move(r), std::move(e)); });
    url_ = "http://" + server_->address();
    thread_ = std::thread([this] { loop_.Run(); });
  }
  void TearDown() override {
    executor_.SetOpen(true);
    engine_.reset();
    loop_.Stop();
    if (thread_.joinable()) thread_.join();
    server_.reset();
  }
  http::Response Post(const std::string& path, const std::string& body) {
    http::Request request{.method = "POST", .body = body};
    request.headers.Set("Content-Type", "application/json");
    return *http::Fetch(url_ + path, request);
  }
  http::Response Get(const std::string& path) { return *http::Fetch(url_ + path); }
  template <typename F>
  auto OnLoop(F fn) {
    std::promise<decltype(fn())> result;
    loop_.Post([&] { result.set_value(fn()); });
    return result.get_future().get();
  }
  // Once the engine computes for it.
  void LeaveAfterTheHead(const std::string& path, const std::string& body) {
    const int before = executor_.begun();
    http::Loop client_loop;
    auto client = http::Client::Create(client_loop, {.port = server_->port()});
    client_loop.Post([&] {
      auto call = std::make_shared<std::shared_ptr<http::Call>>();
      *call = client->Start({.method = "POST", .target = path, .body = body},
                            {.on_head =
                                 [&, call](const http::Response&) {
                                   while (executor_.begun() == before) std::this_thread::yield();
                                   (*call)->Cancel();
                                 },
                             .on_data = [](std::string_view) {},
                             .on_done = [&](const absl::Status&) { client_loop.Stop(); }});
    });
    client_loop.Run();
  }
  void WaitForInFlight(int wanted) {
    while (OnLoop([this] { return service_->in_flight(); }) != wanted) std::this_thread::yield();
  }

  ServiceOptions options_{
      .model_id = "m.gguf", .served_name = "m", .version = "1", .max_input_tokens = 99, .max_total_tokens = 200};
  LetterExecutor executor_;
  ByteTokenizer tokenizer_;
  http::Loop loop_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<EngineLoop> engine_;
  std::unique_ptr<http::Server> server_;
  std::string url_;
  std::thread thread_;
};

TEST_F(ServiceTest, TgiGenerateHasTgisShape) {
  Start();
  const http::Response r = Post("/generate", R"({"inputs":"a","parameters":{"max_new_tokens":3,"details":true}})");
  ASSERT_EQ(r.status, 200) << r.body;
  const Json body = Json::parse(r.body);
  EXPECT_EQ(body["generated_text"], "bcd");
  EXPECT_EQ(body["details"]["finish_reason"], "length");
  EXPECT_EQ(body["details"]["generated_tokens"], 3);
  EXPECT_EQ(body["details"]["tokens"][0]["text"], "b");
  EXPECT_LE(body["details"]["tokens"][0]["logprob"], 0);
  EXPECT_EQ(r.headers.Get("x-prompt-tokens"), "1");
  EXPECT_EQ(r.headers.Get("x-generated-tokens"), "3");
}

TEST_F(ServiceTest, CompatAndInvocationsAnswerAnArray) {
  Start();
  for (const char* path : {"/", "/invocations"}) {
    EXPECT_EQ(Post(path, R"({"inputs":"a","parameters":{"max_new_tokens":2}})").body, R"([{"generated_text":"bc"}])")
        << path;
  }
}

TEST_F(ServiceTest, TgiStreamEndsWithTextAndDetails) {
  Start();
  const http::Response r = Post("/generate_stream", R"({"inputs":"x","parameters":{"max_new_tokens":9}})");
  EXPECT_EQ(r.headers.Get("content-type"), "text/event-stream");
  std::vector<Json> events;
  http::SseParser parser([&](std::string_view data) { events.push_back(Json::parse(data)); });
  ASSERT_TRUE(parser.Feed(r.body).ok());
  ASSERT_EQ(events.size(), 3u) << r.body;  // y, z, end
  EXPECT_EQ(events[0]["token"]["text"], "y");
  EXPECT_TRUE(events[0]["generated_text"].is_null());
  EXPECT_EQ(events[2]["generated_text"], "yz");
  EXPECT_EQ(events[2]["token"]["special"], true);
  EXPECT_EQ(events[2]["details"]["finish_reason"], "eos_token");
}

TEST_F(ServiceTest, CompletionsStopBeforeTheStopSequenceAlsoWhenStreamed) {
  Start();
  const std::string call = R"({"prompt":"a","max_tokens":9,"temperature":0,"stop":"ef")";
  const Json whole = Json::parse(Post("/v1/completions", call + "}").body);
  EXPECT_EQ(whole["choices"][0]["text"], "bcd");
  EXPECT_EQ(whole["choices"][0]["finish_reason"], "stop");
  std::string text;
  int usage = 0;
  bool done = false;
  http::SseParser parser([&](std::string_view data) {
    done = data == "[DONE]";
    if (done) return;
    const Json event = Json::parse(data);
    if (!event["choices"].empty()) text += event["choices"][0]["text"].get<std::string>();
    if (event.contains("usage")) usage = event["usage"]["completion_tokens"];
  });
  ASSERT_TRUE(
      parser.Feed(Post("/v1/completions", call + R"(,"stream":true,"stream_options":{"include_usage":true}})").body)
          .ok());
  EXPECT_EQ(text, "bcd");
  EXPECT_EQ(usage, 5);
  EXPECT_TRUE(done);
}

TEST_F(ServiceTest, IgnoreEosGivesEveryToken) {
  Start();
  const Json body =
      Json::parse(Post("/v1/completions", R"({"prompt":"z","max_tokens":5,"temperature":0,"ignore_eos":true})").body);
  EXPECT_EQ(body["usage"]["completion_tokens"], 5);
  EXPECT_EQ(body["choices"][0]["finish_reason"], "length");
}

TEST_F(ServiceTest, SeveralPromptsAreSeveralChoices) {
  Start();
  const Json body = Json::parse(Post("/v1/completions", R"({"prompt":["a","k"],"max_tokens":2,"temperature":0})").body);
  EXPECT_EQ(body["choices"][0]["text"], "bc");
  EXPECT_EQ(body["choices"][1]["text"], "lm");
  EXPECT_EQ(body["usage"]["total_tokens"], 6);
}

TEST_F(ServiceTest, ChatTakesContentAsPartsAndStreamsARole) {
  Start();
  const std::string call =
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"max_tokens":2,"temperature":0)";
  const Json body = Json::parse(Post("/v1/chat/completions", call + "}").body);
  EXPECT_EQ(body["choices"][0]["message"]["content"], "bc");
  const std::string stream = Post("/v1/chat/completions", call + R"(,"stream":true})").body;
  EXPECT_NE(stream.find(R"("delta":{"role":"assistant","content":"b"})"), std::string::npos) << stream;
}

TEST_F(ServiceTest, BadInputIsRefusedWithTheRightStatus) {
  Start();
  struct Case {
    const char* path;
    std::string body;
    int status;
    const char* words;
  };
  const Case cases[] = {{"/generate", "{", 400, "not JSON"},
                        {"/v1/completions", "nonsense", 400, "\"message\""},
                        {"/generate", "{}", 422, "`inputs`"},
                        {"/generate", R"({"inputs":3})", 422, "must be a string"},
                        {"/generate", R"({"inputs":"a","parameters":{"max_new_tokens":"x"}})", 422, "max_new_tokens"},
                        {"/generate", R"({"inputs":"a","parameters":{"temperature":0}})", 422, "strictly positive"},
                        {"/generate", R"({"inputs":""})", 422, "empty"},
                        {"/generate", R"({"inputs":")" + std::string(100, 'a') + R"("})", 422, "less than 100 tokens"},
                        {"/generate", R"({"inputs":"aa","parameters":{"max_new_tokens":199}})", 422,
                         "`max_new_tokens` must be <= 200. Given: 2 `inputs`"},
                        {"/v1/completions", R"({"prompt":[500]})", 422, "vocabulary"},
                        {"/v1/completions", R"({"prompt":"a","echo":true})", 422, "echo"},
                        {"/v1/chat/completions", R"({"messages":[]})", 422, "messages"},
                        {"/nowhere", "{}", 404, "/generate_stream"},
                        {"/info", "{}", 405, "not allowed"}};
  for (const Case& c : cases) {
    const http::Response r = Post(c.path, c.body);
    EXPECT_EQ(r.status, c.status) << c.path << " " << c.body << " " << r.body;
    EXPECT_NE(r.body.find(c.words), std::string::npos) << r.body;
  }
}

TEST_F(ServiceTest, OverTheLimitIs429WithRetryAfterAlsoForStreams) {
  Start(1);
  executor_.SetOpen(false);
  auto held = std::async(std::launch::async,
                         [&] { return Post("/generate", R"({"inputs":"a","parameters":{"max_new_tokens":2}})"); });
  WaitForInFlight(1);
  for (const char* path : {"/generate", "/generate_stream", "/v1/completions"}) {
    const http::Response r = Post(path, R"({"inputs":"a","prompt":"a","stream":true})");
    EXPECT_EQ(r.status, 429) << path;
    EXPECT_TRUE(r.headers.Has("Retry-After"));
  }
  EXPECT_EQ(Get("/health").status, 200) << "health never waits for inference";
  executor_.SetOpen(true);
  EXPECT_EQ(held.get().status, 200);
  WaitForInFlight(0);
  EXPECT_EQ(Post("/generate", R"({"inputs":"a"})").status, 200);
}

TEST_F(ServiceTest, AClientThatLeavesGivesItsPermitBackAndIsCancelledWithinAStep) {
  Start(1);
  // In its prefill (99 tokens are two steps), and while it decodes.
  for (const std::string& prompt : {std::string(99, 'a'), std::string("a")}) {
    executor_.SetOpen(false);
    const int begun = executor_.begun();
    LeaveAfterTheHead("/generate_stream", R"({"inputs":")" + prompt + R"(","parameters":{"max_new_tokens":90}})");
    WaitForInFlight(0);
    executor_.AllowOneStep();  // the one in progress; another would wait at the gate for ever
    while (engine_->stats().schedule.running + engine_->stats().schedule.waiting > 0) std::this_thread::yield();
    EXPECT_EQ(executor_.begun(), begun + 1);
  }
  EXPECT_NE(Get("/metrics").body.find("tgi_request_failure{err=\"dropped\"} 2"), std::string::npos);
}

TEST_F(ServiceTest, ASilentStreamGetsCommentsThatParsersSkip) {
  options_.keep_alive = std::chrono::milliseconds(4);
  Start();
  executor_.SetOpen(false);
  auto held = std::async(std::launch::async, [&] {
    return Post("/v1/completions", R"({"prompt":"y","max_tokens":9,"temperature":0,"stream":true})").body;
  });
  WaitForInFlight(1);
  const TimePoint start = loop_.Now();
  while (loop_.Now() - start < std::chrono::milliseconds(40)) std::this_thread::yield();
  executor_.SetOpen(true);
  const std::string body = held.get();
  EXPECT_TRUE(body.starts_with(":\n\n")) << body;
  std::vector<std::string> events;
  http::SseParser parser([&](std::string_view data) { events.emplace_back(data); });
  ASSERT_TRUE(parser.Feed(body).ok());
  ASSERT_EQ(events.size(), 3u) << body;  // z, the end, [DONE]
  EXPECT_EQ(Json::parse(events[0])["choices"][0]["text"], "z");
}

TEST_F(ServiceTest, DrainFinishesWhatRunsAndRefusesTheRest) {
  Start();
  executor_.SetOpen(false);
  auto held = std::async(std::launch::async,
                         [&] { return Post("/generate", R"({"inputs":"a","parameters":{"max_new_tokens":2}})"); });
  WaitForInFlight(1);
  std::promise<void> empty;
  loop_.Post([&] { service_->Drain(std::chrono::hours(1), [&] { empty.set_value(); }); });
  for (const char* path : {"/health", "/ping"}) EXPECT_EQ(Get(path).status, 503) << path;
  for (const char* path : {"/generate", "/generate_stream", "/v1/completions"}) {
    const http::Response refused = Post(path, R"({"inputs":"a","prompt":"a"})");
    EXPECT_EQ(refused.status, 503) << path;
    EXPECT_TRUE(refused.headers.Has("Retry-After")) << path;
    EXPECT_EQ(refused.headers.Get("Connection"), "close") << path;
  }
  executor_.SetOpen(true);
  EXPECT_EQ(held.get().status, 200);
  empty.get_future().get();
}

TEST_F(ServiceTest, WhatRunsLongerThanTheDrainIsCancelledAndItsClientTold) {
  Start();
  executor_.SetOpen(false);
  std::vector<std::future<http::Response>> held;
  for (const char* path : {"/generate", "/generate_stream", "/v1/completions"}) {
    held.push_back(std::async(std::launch::async, [this, path] {
      const char* body = R"({"inputs":"a","prompt":"a","stream":true,"parameters":{"max_new_tokens":2}})";
      return Post(path, body);
    }));
  }
  WaitForInFlight(3);
  std::promise<void> empty;
  loop_.Post([&] { service_->Drain(Duration::zero(), [&] { empty.set_value(); }); });
  empty.get_future().get();
  const http::Response whole = held[0].get();
  EXPECT_EQ(whole.status, 503);
  EXPECT_TRUE(whole.headers.Has("Retry-After"));
  EXPECT_NE(whole.body.find("cut off"), std::string::npos) << whole.body;
  const std::string tgi = held[1].get().body, openai = held[2].get().body;
  EXPECT_TRUE(tgi.starts_with(R"(data: {"error":"the engine is shutting down)")) << tgi;
  EXPECT_TRUE(openai.starts_with(R"(data: {"error":{"message":"the engine is shutting down)")) << openai;
  executor_.SetOpen(true);
  while (engine_->stats().schedule.running + engine_->stats().schedule.waiting > 0) std::this_thread::yield();
}

TEST_F(ServiceTest, LimitsChangeLiveAndImpossibleOnesChangeNothing) {
  Start();
  EXPECT_EQ(engine_->SetLimits({.max_concurrent_requests = 2, .max_batch_prefill_tokens = 0}, 1)->generation, 2u);
  EXPECT_EQ(Json::parse(Get("/info").body)["max_concurrent_requests"], 2);
  EXPECT_EQ(engine_->SetLimits({.max_batch_prefill_tokens = 999}, 0).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(engine_->SetLimits({.max_concurrent_requests = 9}, 1).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(engine_->limits().generation, 2u);
}

}  // namespace
}  // namespace patella::engine
