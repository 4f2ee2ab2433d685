#include "gtest/gtest.h"
#include "lib/adapters/generation.h"
#include "nlohmann/json.hpp"

namespace patella::adapters {
namespace {

using nlohmann::json;

TEST(GenerationRequestTest, TgiGetsItsOwnRouteAndParameters) {
  const http::Request request = GenerationRequest({.kind = EngineKind::kTgi, .path_prefix = "/base"}, {"Hello", 7});
  EXPECT_EQ(request.target, "/base/generate_stream");
  const json body = json::parse(request.body);
  EXPECT_EQ(body["inputs"], "Hello");
  EXPECT_EQ(body["parameters"]["max_new_tokens"], 7);
  EXPECT_EQ(body["parameters"]["details"], true);
}

TEST(GenerationRequestTest, OpenAiDialectAsksForFixedOutputAndUsage) {
  const http::Request request =
      GenerationRequest({.kind = EngineKind::kOpenAi, .model = "m", .authorization = "Bearer x"}, {"Hello", 7});
  EXPECT_EQ(request.target, "/v1/completions");
  EXPECT_EQ(request.headers.Get("Authorization"), "Bearer x");
  const json body = json::parse(request.body);
  EXPECT_EQ(body["model"], "m");
  EXPECT_EQ(body["max_tokens"], 7);
  EXPECT_EQ(body["ignore_eos"], true);
  EXPECT_EQ(body["stream"], true);
  EXPECT_EQ(body["stream_options"]["include_usage"], true);
  EXPECT_FALSE(body.contains("min_tokens"));
}

TEST(GenerationRequestTest, VllmReportsUsageWithEveryEvent) {
  const json body = json::parse(GenerationRequest({.kind = EngineKind::kVllm}, {"Hello", 7}).body);
  EXPECT_EQ(body["min_tokens"], 7);
  EXPECT_EQ(body["stream_options"]["continuous_usage_stats"], true);
  EXPECT_FALSE(body.contains("model"));
}

TEST(EngineKindTest, NamesAreReadWithoutRegardToCase) {
  for (const EngineKind kind : {EngineKind::kPatella, EngineKind::kVllm, EngineKind::kTgi, EngineKind::kOpenAi}) {
    EXPECT_EQ(EngineOf(kind).kind, kind);
    EXPECT_EQ(*ParseEngineKind(EngineOf(kind).name), kind);
  }
  EXPECT_EQ(*ParseEngineKind("vllm"), EngineKind::kVllm);
  EXPECT_NE(std::string(ParseEngineKind("ollama").status().message()).find("Patella, VLLM, TGI, OpenAI"),
            std::string::npos);
}

}  // namespace
}  // namespace patella::adapters
