#include "lib/wire/stream_event.h"

#include <gtest/gtest.h>

namespace patella::wire {
namespace {

// The first piece of its choice, unless another came before.
int TokensIn(const char* event, bool begun = true) {
  PieceCounter counter;
  if (begun) counter.TokensIn({});
  int tokens = 0;
  for (const StreamPiece& piece : PiecesOf(event)) tokens += counter.TokensIn(piece);
  return tokens;
}

TEST(StreamEventTest, ATokenCountsWhetherItHasTextOrNot) {
  EXPECT_EQ(TokensIn(R"({"token":{"id":1,"text":""}})"), 1);
  EXPECT_EQ(TokensIn(R"({"choices":[{"index":0,"text":"a","finish_reason":null}]})"), 1);
  EXPECT_EQ(TokensIn(R"({"choices":[{"index":0,"text":"","finish_reason":null}]})"), 1);
  EXPECT_EQ(TokensIn(R"({"choices":[{"text":""}]})"), 1) << "no reason is no end";
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{"content":""}}]})"), 1);
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{}}]})"), 1);
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{"reasoning_content":"hm"},"finish_reason":null}]})"), 1);
}

TEST(StreamEventTest, OpeningsEndsUsageAndErrorsAreNoTokens) {
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{"role":"assistant","content":""}}]})", false), 0);
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{"role":"assistant","content":null}}]})", false), 0);
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{},"finish_reason":"stop"}]})"), 0);
  EXPECT_EQ(TokensIn(R"({"choices":[{"text":"","finish_reason":"length"}]})"), 0);
  EXPECT_EQ(TokensIn(R"({"choices":[],"usage":{"completion_tokens":2}})"), 0);
  EXPECT_EQ(TokensIn(R"({"error":{"message":"\"text\":\"a\""}})"), 0);
  EXPECT_EQ(TokensIn("[DONE]"), 0);
  EXPECT_EQ(TokensIn(""), 0);
  EXPECT_EQ(TokensIn(R"({"choices":[)"), 0);
}

TEST(StreamEventTest, WithTextAnOpeningOrAnEndIsATokenToo) {
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{"role":"assistant","content":"a"}}]})", false), 1);
  EXPECT_EQ(TokensIn(R"({"choices":[{"text":"a","finish_reason":"length"}]})"), 1);
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{"role":"assistant","tool_calls":[{"index":3}]}}]})", false), 1);
}

TEST(StreamEventTest, ARoleInEveryPieceOpensOnlyOnce) {  // TGI's chat, and SGLang's with null
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{"role":"assistant","content":""}}]})", true), 1);
  EXPECT_EQ(TokensIn(R"({"choices":[{"delta":{"role":null,"content":""}}]})", false), 1);
}

TEST(StreamEventTest, TokenIdsAreCounted) {
  EXPECT_EQ(TokensIn(R"({"choices":[{"text":"abc","token_ids":[1,2,3],"finish_reason":null}]})"), 3);
  EXPECT_EQ(TokensIn(R"({"choices":[{"text":"abc","token_ids":null,"finish_reason":null}]})"), 1);
  EXPECT_EQ(TokensIn(R"({"choices":[{"text":"","token_ids":[],"finish_reason":"stop"}]})"), 0);
}

TEST(StreamEventTest, PiecesAreTheirChoices) {
  const auto pieces = PiecesOf(
      R"( {"id":"x","choices":[{"text":"a","index":2},{"delta":{"tool_calls":[{"index":7}]},"index":1,"finish_reason":"tool_calls"}]})");
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(pieces[0].choice, 2);
  EXPECT_FALSE(pieces[0].last);
  EXPECT_EQ(pieces[1].choice, 1);
  EXPECT_TRUE(pieces[1].last);
  EXPECT_EQ(PiecesOf(R"({"index":9,"token":{"id":1}})").at(0).choice, 0) << "TGI's index is the token's";
  EXPECT_EQ(PiecesOf(R"({"choices":[{"index":-5}]})").at(0).choice, 0);
}

}  // namespace
}  // namespace patella::wire
