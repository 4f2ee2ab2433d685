#include <string>

#include "gtest/gtest.h"
#include "lib/adapters/generation.h"

namespace patella::adapters {
namespace {

constexpr std::string_view kTgiStream =
    "data:{\"index\":1,\"token\":{\"id\":5,\"text\":\"Hé\",\"special\":false},\"generated_text\":null,\"details\":null}"
    "\n\n"
    ": keep-alive\n\n"
    "data:{\"index\":2,\"token\":{\"id\":6,\"text\":\"\",\"special\":false},\"generated_text\":null,\"details\":null}"
    "\n\n"
    "data:{\"index\":3,\"token\":{\"id\":7,\"text\":\"!\",\"special\":false},\"generated_text\":\"Hé!\",\"details\":"
    "{\"finish_reason\":\"length\",\"generated_tokens\":3,\"input_length\":17}}\n\n";

constexpr std::string_view kOpenAiStream =
    "data: {\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":null}],\"usage\":null}\r\n\r\n"
    "data: {\"choices\":[{\"index\":0,\"text\":\"b\",\"finish_reason\":null}]}\r\n\r\n"
    "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]}\r\n\r\n"
    "data: "
    "{\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_"
    "tokens\":4}}}\r\n\r\n"
    "data: [DONE]\r\n\r\n";

struct Heard {
  int tokens = 0;
  bool finished = false;
  StreamUsage usage;
  absl::Status status;
};

Heard Listen(EngineKind kind, std::string_view stream, size_t torn_at) {
  Heard heard;
  StreamParser parser(kind, [&](int tokens) { heard.tokens += tokens; });
  heard.status = parser.Feed(stream.substr(0, torn_at));
  if (heard.status.ok()) heard.status = parser.Feed(stream.substr(torn_at));
  heard.finished = parser.finished();
  heard.usage = parser.usage();
  return heard;
}

TEST(StreamParserTest, TgiStreamCountsTheSameWhereverItIsTorn) {
  for (size_t at = 0; at <= kTgiStream.size(); ++at) {
    const Heard heard = Listen(EngineKind::kTgi, kTgiStream, at);
    EXPECT_TRUE(heard.status.ok()) << at << heard.status;
    EXPECT_EQ(heard.tokens, 3) << at;
    EXPECT_TRUE(heard.finished) << at;
    EXPECT_EQ(heard.usage.prompt_tokens, 17) << at;
  }
}

TEST(StreamParserTest, OpenAiStreamCountsTheSameWhereverItIsTorn) {
  for (size_t at = 0; at <= kOpenAiStream.size(); ++at) {
    const Heard heard = Listen(EngineKind::kOpenAi, kOpenAiStream, at);
    EXPECT_TRUE(heard.status.ok()) << at << heard.status;
    EXPECT_EQ(heard.tokens, 2) << at;
    EXPECT_TRUE(heard.finished) << at;
    EXPECT_EQ(heard.usage.prompt_tokens, 9) << at;
    EXPECT_EQ(heard.usage.cached_tokens, 4) << at;
  }
}

TEST(StreamParserTest, UsageInEachEventTellsHowManyTokensAnEventBrought) {
  std::vector<int> brought;
  StreamParser parser(EngineKind::kVllm, [&](int tokens) { brought.push_back(tokens); });
  ASSERT_TRUE(
      parser
          .Feed(
              "data: {\"choices\":[{\"text\":\"abc\",\"finish_reason\":null}],\"usage\":{\"completion_tokens\":3}}\n\n")
          .ok());
  ASSERT_TRUE(
      parser
          .Feed("data: {\"choices\":[{\"text\":\"d\",\"finish_reason\":null}],\"usage\":{\"completion_tokens\":4}}\n\n")
          .ok());
  EXPECT_EQ(brought, (std::vector<int>{3, 1}));
}

TEST(StreamParserTest, UsageAtTheEndAddsTheTokensThatEventsDidNotShow) {
  int tokens = 0;
  StreamParser parser(EngineKind::kOpenAi, [&](int more) { tokens += more; });
  ASSERT_TRUE(parser.Feed("data: {\"choices\":[{\"text\":\"ab\",\"finish_reason\":null}]}\n\n").ok());
  EXPECT_EQ(tokens, 1);
  ASSERT_TRUE(parser.Feed("data: {\"choices\":[],\"usage\":{\"completion_tokens\":5}}\n\n").ok());
  EXPECT_EQ(tokens, 5);
}

TEST(StreamParserTest, TokenIdsAreCountedWhenThereAreAny) {
  int tokens = 0;
  StreamParser parser(EngineKind::kVllm, [&](int more) { tokens += more; });
  ASSERT_TRUE(
      parser.Feed("data: {\"choices\":[{\"text\":\"abc\",\"token_ids\":[1,2,3],\"finish_reason\":null}]}\n\n").ok());
  EXPECT_EQ(tokens, 3);
}

TEST(StreamParserTest, ErrorEventBecomesAStatusWithTheEnginesWords) {
  Heard heard =
      Listen(EngineKind::kTgi, "data: {\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}\n\n", 5);
  EXPECT_TRUE(absl::IsResourceExhausted(heard.status)) << heard.status;
  heard = Listen(EngineKind::kOpenAi,
                 "data: {\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\",\"code\":500}}\n\n", 5);
  EXPECT_TRUE(absl::IsInternal(heard.status)) << heard.status;
  EXPECT_NE(std::string(heard.status.message()).find("out of memory"), std::string::npos);
}

TEST(StreamParserTest, StreamThatIsNotJsonIsAnError) {
  EXPECT_FALSE(Listen(EngineKind::kOpenAi, "data: <html>\n\n", 3).status.ok());
  EXPECT_FALSE(Listen(EngineKind::kOpenAi, "data: [1]\n\n", 3).status.ok());
}

TEST(StreamParserTest, StreamThatStopsEarlyIsNotFinished) {
  EXPECT_FALSE(Listen(EngineKind::kOpenAi, kOpenAiStream.substr(0, 80), 10).finished);
}

TEST(ErrorMessageTest, ReadsTheBodiesOfEveryEngine) {
  EXPECT_EQ(ErrorMessage("{\"error\":\"tgi says\",\"error_type\":\"validation\"}"), "tgi says");
  EXPECT_EQ(ErrorMessage("{\"error\":{\"message\":\"openai says\"}}"), "openai says");
  EXPECT_EQ(ErrorMessage("{\"object\":\"error\",\"message\":\"vllm says\"}"), "vllm says");
  EXPECT_EQ(ErrorMessage("{\"detail\":\"Not Found\"}"), "Not Found");
  EXPECT_EQ(ErrorMessage("plain"), "plain");
}

}  // namespace
}  // namespace patella::adapters
