// What needs no model: words, streams, stop strings, chat templates, and tokenizers of a few tokens.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

#include "engine/formats/gguf_writer.h"
#include "engine/text/chat_template.h"
#include "engine/text/pretokenizer.h"
#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

namespace patella::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<Tokenizer> Build(const GgufWriter& writer) {
  const std::string path = testing::TempDir() + "/text_test_" + std::to_string(getpid()) + ".gguf";
  EXPECT_TRUE(writer.WriteTo(path).ok());
  auto file = GgufFile::Open(path);
  std::remove(path.c_str());
  if (!file.ok()) return nullptr;
  auto tokenizer = Tokenizer::FromGguf(**file);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

std::unique_ptr<Tokenizer> TinySentencePiece() {
  GgufWriter writer;
  writer.SetString("tokenizer.ggml.model", "llama");
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> kinds = {2, 3, 3};
  std::vector<float> scores = {0, 0, 0};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    tokens.push_back(name);
    kinds.push_back(6);
    scores.push_back(0);
  }
  const std::vector<std::pair<std::string, float>> words = {{"▁", -9},  {"a", -9},  {"b", -9},
                                                            {"ab", -2}, {"▁a", -1}, {"▁ab", -3}};
  for (const auto& [word, score] : words) {
    tokens.push_back(word);
    kinds.push_back(1);
    scores.push_back(score);
  }
  writer.SetStrings("tokenizer.ggml.tokens", tokens);
  writer.SetInts("tokenizer.ggml.token_type", kinds);
  writer.SetFloats("tokenizer.ggml.scores", scores);
  return Build(writer);
}

TEST(SentencePieceTest, NeighboursMergeByScoreAndBytesFallBack) {
  const auto tokenizer = TinySentencePiece();
  ASSERT_NE(tokenizer, nullptr);
  EXPECT_THAT(tokenizer->Encode("ab", true, true), ElementsAre(1, 264));            // ▁a first, then ▁ab
  EXPECT_THAT(tokenizer->Encode("bab", false, false), ElementsAre(259, 261, 262));  // ▁ b ab
  EXPECT_THAT(tokenizer->Encode("é", false, false), ElementsAre(259, 3 + 0xc3, 3 + 0xa9));
  EXPECT_THAT(tokenizer->Encode("", true, true), ElementsAre(1));
}

TEST(SentencePieceTest, TextRoundTrips) {
  const auto tokenizer = TinySentencePiece();
  ASSERT_NE(tokenizer, nullptr);
  for (const std::string text : {"ab", " ab", "a  b", "héllo 世界 😀", "\n", " "}) {
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(text, true, false)), text);
  }
}

TEST(TokenizerTest, UnknownKindsAreNamed) {
  GgufWriter writer;
  writer.SetString("tokenizer.ggml.model", "bert");
  writer.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>{"a"});
  const std::string path = testing::TempDir() + "/text_test_bert_" + std::to_string(getpid()) + ".gguf";
  ASSERT_TRUE(writer.WriteTo(path).ok());
  const auto file = GgufFile::Open(path);
  std::remove(path.c_str());
  ASSERT_TRUE(file.ok());
  const auto tokenizer = Tokenizer::FromGguf(**file);
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("bert"));
  EXPECT_FALSE(FindPreTokenizer("deepseek-llm").ok());
}

TEST(Utf8StreamTest, CodePointsAppearWhole) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("a\xf0\x9f"), "a");
  EXPECT_EQ(stream.Push("\x98"), "");
  EXPECT_EQ(stream.Push("\x80z"), "😀z");
  EXPECT_EQ(stream.Push("\xe4\xbd"), "");
  EXPECT_EQ(stream.Flush(), "\xef\xbf\xbd");
  EXPECT_EQ(stream.Flush(), "");
}

TEST(Utf8StreamTest, InvalidBytesBecomeReplacements) {
  Utf8Stream stream;
  const std::string r = "\xef\xbf\xbd";
  EXPECT_EQ(stream.Push("a\xff"
                        "b\xc0\x80"),
            "a" + r + "b" + r + r);
  EXPECT_EQ(stream.Push("\xed\xa0\x80x"), r + r + r + "x");
  EXPECT_EQ(stream.Push("\xe2\x82z"), r + "z");
}

TEST(ChatTemplateTest, LlamaTwo) {
  const auto text = RenderChat("[INST] <<SYS>>", {{"system", "S"}, {"user", "u1"}, {"assistant", "a1"}, {"user", "u2"}},
                               true, "<s>", "</s>");
  EXPECT_EQ(*text, "[INST] <<SYS>>\nS\n<</SYS>>\n\nu1 [/INST] a1 </s><s>[INST] u2 [/INST]");
}

TEST(ChatTemplateTest, LlamaThree) {
  const auto text = RenderChat("<|start_header_id|>", {{"user", " hi "}}, true, "<|begin_of_text|>", "<|eot_id|>");
  EXPECT_EQ(
      *text,
      "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(ChatTemplateTest, Mistral) {
  const auto text = RenderChat("{{ '[INST] ' + message['content'] + ' [/INST]' }}",
                               {{"user", "u"}, {"assistant", "a"}, {"user", "v"}}, true, "<s>", "</s>");
  EXPECT_EQ(*text, "[INST] u [/INST]a</s>[INST] v [/INST]");
}

TEST(ChatTemplateTest, RolesOutOfTurnAndUnknownTemplatesAreRefused) {
  EXPECT_EQ(RenderChat("[INST]", {{"assistant", "a"}}, true, "", "").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RenderChat("<start_of_turn>", {{"user", "a"}}, true, "", "").status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(UnicodeTest, ClassesOfAFewCodePoints) {
  for (uint32_t letter : {0x41u, 0xe9u, 0x4e2du, 0x20bb7u, 0xaau})
    EXPECT_EQ(Classify(letter), CharClass::kLetter) << letter;
  for (uint32_t number : {0x30u, 0xbdu, 0x216bu, 0x967u}) EXPECT_EQ(Classify(number), CharClass::kNumber) << number;
  for (uint32_t space : {0x20u, 0x85u, 0xa0u, 0x3000u}) EXPECT_EQ(Classify(space), CharClass::kSpace) << space;
  for (uint32_t other : {0x0u, 0x1fu, 0x200bu, 0x301u, 0x1f600u, 0x10ffffu})
    EXPECT_EQ(Classify(other), CharClass::kOther) << other;
}

}  // namespace
}  // namespace patella::engine
