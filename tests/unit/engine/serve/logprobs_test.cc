// Log probabilities as clients get them, on every route, against a softmax of the fake model's rows.
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/unit/engine/serve/service_fixture.h"

namespace patella::engine {
namespace {

using Json = nlohmann::json;

double Reference(char after, int token, double temperature = 1) {
  const std::vector<float> row = LettersAfter(after);
  double sum = 0;
  for (float x : row) sum += std::exp(x / temperature);
  return row[token] / temperature - std::log(sum);
}

class LogprobsTest : public ServiceTest {
 protected:
  Json Ask(const std::string& path, const std::string& body) {
    const http::Response r = Post(path, body);
    EXPECT_EQ(r.status, 200) << r.body;
    return Json::parse(r.body);
  }
  std::vector<Json> Stream(const std::string& path, const std::string& body) {
    std::vector<Json> events;
    http::SseParser parser([&](std::string_view data) {
      if (data != "[DONE]") events.push_back(Json::parse(data));
    });
    EXPECT_TRUE(parser.Feed(Post(path, body).body).ok());
    return events;
  }
};

TEST_F(LogprobsTest, TgiDetailsHaveTheTokensTheirLikeliestAndThePromptsOwn) {
  Start();
  const Json details =
      Ask("/generate", R"({"inputs":"abd","parameters":{"max_new_tokens":2,"details":true,"top_n_tokens":2,
      "decoder_input_details":true}})")["details"];
  ASSERT_EQ(details["tokens"].size(), 2u);
  EXPECT_NEAR(details["tokens"][0]["logprob"], Reference('d', 'e'), 1e-5);
  EXPECT_NEAR(details["tokens"][1]["logprob"], Reference('e', 'f'), 1e-5);
  ASSERT_EQ(details["top_tokens"].size(), 2u);
  ASSERT_EQ(details["top_tokens"][0].size(), 2u);
  EXPECT_EQ(details["top_tokens"][0][1]["text"], "f");
  EXPECT_NEAR(details["top_tokens"][0][1]["logprob"], Reference('d', 'f'), 1e-5);
  ASSERT_EQ(details["prefill"].size(), 3u);
  EXPECT_TRUE(details["prefill"][0]["logprob"].is_null());
  EXPECT_NEAR(details["prefill"][1]["logprob"], Reference('a', 'b'), 1e-5);
  EXPECT_NEAR(details["prefill"][2]["logprob"], Reference('b', 'd'), 1e-5);
  EXPECT_EQ(details["prefill"][2]["text"], "d");
}

TEST_F(LogprobsTest, APromptOfSeveralStepsHasEveryTokensLogprob) {
  Start();
  std::string prompt;
  for (int i = 0; i < 90; ++i) prompt += static_cast<char>('a' + i * 7 % 26);
  const std::string body =
      R"({"inputs":")" + prompt + R"(","parameters":{"max_new_tokens":1,"decoder_input_details":true}})";
  const Json prefill = Ask("/generate", body)["details"]["prefill"];
  ASSERT_EQ(prefill.size(), prompt.size());
  for (size_t i = 1; i < prompt.size(); ++i)
    EXPECT_NEAR(prefill[i]["logprob"], Reference(prompt[i - 1], prompt[i]), 1e-5) << i;
}

TEST_F(LogprobsTest, TgiStreamsCarryTheLikeliestTokens) {
  Start();
  const auto events = Stream("/generate_stream",
                             R"({"inputs":"a","parameters":{"max_new_tokens":2,"top_n_tokens":3,"temperature":2.0}})");
  ASSERT_EQ(events.size(), 2u);
  ASSERT_EQ(events[0]["top_tokens"].size(), 3u);
  EXPECT_EQ(events[0]["top_tokens"][0]["id"], 'b');
  EXPECT_NEAR(events[0]["top_tokens"][0]["logprob"], Reference('a', 'b', 2), 1e-5) << "TGI's are after the temperature";
}

TEST_F(LogprobsTest, CompletionsGiveThemByTokenAndOffset) {
  Start();
  const Json choice =
      Ask("/v1/completions", R"({"prompt":"a","max_tokens":9,"temperature":0,"logprobs":2,"stop":"f"})")["choices"][0];
  const Json& logprobs = choice["logprobs"];
  EXPECT_EQ(choice["text"], "bcde");
  EXPECT_EQ(logprobs["tokens"], Json({"b", "c", "d", "e"})) << "the stop sequence has none";
  EXPECT_EQ(logprobs["text_offset"], Json({0, 1, 2, 3}));
  EXPECT_NEAR(logprobs["token_logprobs"][1], Reference('b', 'c'), 1e-5);
  ASSERT_EQ(logprobs["top_logprobs"][1].size(), 2u);
  EXPECT_NEAR(logprobs["top_logprobs"][1]["d"], Reference('b', 'd'), 1e-5);
  const Json zero =
      Ask("/v1/completions", R"({"prompt":"a","max_tokens":1,"temperature":0,"logprobs":0})")["choices"][0];
  EXPECT_EQ(zero["logprobs"]["top_logprobs"][0].size(), 1u) << "the chosen one alone";
  EXPECT_TRUE(Ask("/v1/completions", R"({"prompt":"a","max_tokens":1})")["choices"][0]["logprobs"].is_null());
}

TEST_F(LogprobsTest, ChatGivesThemWithBytesWhateverTheTemperature) {
  Start();
  const std::string call =
      R"({"messages":[{"role":"user","content":"y"}],"max_tokens":9,"temperature":0.01,"logprobs":true,"top_logprobs":2)";
  const Json content = Ask("/v1/chat/completions", call + "}")["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 1u) << "the end token is no part of the text: " << content;
  EXPECT_EQ(content[0]["token"], "z");
  EXPECT_EQ(content[0]["bytes"], Json({'z'}));
  EXPECT_NEAR(content[0]["logprob"], Reference('y', 'z'), 1e-5);
  EXPECT_NEAR(content[0]["top_logprobs"][1]["logprob"], Reference('y', 0), 1e-5);
}

TEST_F(LogprobsTest, StreamsGiveTheSameOnesAsWholeAnswersEachOnce) {
  Start();
  for (const std::string tail : {"", R"(,"stop":"gh")"}) {
    const std::string call = R"({"prompt":"a","max_tokens":9,"temperature":0,"logprobs":1)" + tail;
    const Json whole = Ask("/v1/completions", call + "}")["choices"][0];
    std::string text;
    Json tokens = Json::array(), logprobs = Json::array(), offsets = Json::array();
    for (const Json& event : Stream("/v1/completions", call + R"(,"stream":true})")) {
      const Json& choice = event["choices"][0];
      text += choice["text"].get<std::string>();
      if (choice["logprobs"].is_null()) continue;
      for (const Json& t : choice["logprobs"]["tokens"]) tokens.push_back(t);
      for (const Json& t : choice["logprobs"]["token_logprobs"]) logprobs.push_back(t);
      for (const Json& t : choice["logprobs"]["text_offset"]) offsets.push_back(t);
    }
    EXPECT_EQ(text, whole["text"]);
    EXPECT_EQ(tokens, whole["logprobs"]["tokens"]);
    EXPECT_EQ(logprobs, whole["logprobs"]["token_logprobs"]);
    EXPECT_EQ(offsets, whole["logprobs"]["text_offset"]);
  }
}

}  // namespace
}  // namespace patella::engine
