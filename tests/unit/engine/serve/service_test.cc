// The routes over real loopback sockets, with an executor that always names the next letter and a byte tokenizer.
#include "engine/serve/service.h"

#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/serve/prompts.h"
#include "lib/wire/stream_event.h"
#include "tests/unit/engine/serve/service_fixture.h"

namespace patella::engine {
namespace {

using Json = nlohmann::json;
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
  const size_t role = stream.find(R"("delta":{"role":"assistant","content":""})");
  ASSERT_NE(role, std::string::npos) << stream;
  EXPECT_NE(stream.find(R"("delta":{"content":"b"})", role), std::string::npos) << stream;
}

TEST_F(ServiceTest, EachTokenOfAnOpenAiStreamIsAChunkEvenIfItCompletesNoCharacter) {
  tokenizer_.texts = {{'b', "\xE2"}, {'c', "\x82"}, {'d', "\xAC"}};  // together "€"
  Start();
  for (const std::string path : {"/v1/completions", "/v1/chat/completions"}) {
    std::vector<std::string> pieces;
    wire::PieceCounter counter;
    int tokens = 0;
    http::SseParser parser([&](std::string_view data) {
      for (const wire::StreamPiece& piece : wire::PiecesOf(data)) tokens += counter.TokensIn(piece);
      if (data == "[DONE]") return;
      const Json choice = Json::parse(data)["choices"][0];
      const Json text = choice.contains("text") ? choice["text"] : choice["delta"].value("content", Json());
      if (text.is_string() && choice["finish_reason"].is_null()) pieces.push_back(text);
    });
    const std::string body =
        R"({"prompt":"a","messages":[{"role":"user","content":"a"}],"max_tokens":5,"temperature":0,"stream":true})";
    ASSERT_TRUE(parser.Feed(Post(path, body).body).ok());
    if (path.find("chat") != std::string::npos) {
      ASSERT_FALSE(pieces.empty());
      EXPECT_EQ(pieces.front(), "") << "the role's";
      pieces.erase(pieces.begin());
    }
    EXPECT_EQ(pieces, (std::vector<std::string>{"", "", "€", "e", "f"})) << path;
    EXPECT_EQ(tokens, 5) << path;
  }
}

TEST_F(ServiceTest, BadInputIsRefusedWithTheRightStatus) {
  Start();
  struct Case {
    const char* path;
    std::string body;
    int status;
    const char* words;
  };
  const Case cases[] = {
      {"/generate", "{", 400, "not JSON"},
      {"/v1/completions", "nonsense", 400, "\"message\""},
      {"/generate", "{}", 422, "`inputs`"},
      {"/generate", R"({"inputs":3})", 422, "must be a string"},
      {"/generate", R"({"inputs":"a","parameters":{"max_new_tokens":"x"}})", 422, "max_new_tokens"},
      {"/generate", R"({"inputs":"a","parameters":{"temperature":0}})", 422, "strictly positive"},
      {"/generate", R"({"inputs":""})", 422, "empty"},
      {"/generate", R"({"inputs":")" + std::string(100, 'a') + R"("})", 422, "less than 100 tokens"},
      {"/generate", R"({"inputs":"aa","parameters":{"max_new_tokens":199}})", 422,
       "`max_new_tokens` must be <= 200. Given: 2 `inputs`"},
      {"/generate", R"({"inputs":"a","parameters":{"top_n_tokens":6}})", 422, "<= 5. Given: 6"},
      {"/generate_stream", R"({"inputs":"a","parameters":{"decoder_input_details":true}})", 422,
       "`decoder_input_details` == true is not supported when streaming tokens"},
      {"/v1/completions", R"({"prompt":"a","logprobs":6})", 422, "logprobs"},
      {"/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"top_logprobs":2})", 422,
       "needs `logprobs`"},
      {"/v1/chat/completions", R"({"messages":[{"role":"user","content":"a"}],"logprobs":true,"top_logprobs":21})", 422,
       "top_logprobs"},
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

// Of a file that asks for a BOS: 1.
class TokenizerWithBos final : public ByteTokenizer {
 public:
  std::vector<int32_t> Encode(std::string_view text, bool add_special, bool parse_special) const override {
    std::vector<int32_t> ids = ByteTokenizer::Encode(text, add_special, parse_special);
    if (add_special) ids.insert(ids.begin(), 1);
    return ids;
  }
};

TEST(EncodePromptsTest, ChatsAndTextsBeginWithTheBosThatTheFileAsksFor) {
  wire::GenerateCall chat, text;
  chat.chat = {{"user", "a"}};
  text.prompts = {wire::Prompt("a")};
  for (const auto& call : {chat, text})
    EXPECT_EQ(EncodePrompts(TokenizerWithBos(), call)->front(), (std::vector<int32_t>{1, 'a'}));
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
