// The tokenizer of the demo model against ids that the reference tokenizer gave (tools/golden_text.py).
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "engine/text/tokenizer.h"

namespace patella::engine {
namespace {

std::string ModelPath() {
  if (const char* path = std::getenv("PATELLA_MODEL")) return path;
  const char* const cache = std::getenv("PATELLA_CACHE");
  const char* const home = std::getenv("HOME");
  const std::string folder = cache != nullptr ? cache : std::string(home != nullptr ? home : "") + "/.cache/patella";
  return folder + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

class GoldenTextTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = ModelPath();
    if (!std::filesystem::exists(path)) {
      if (std::getenv("CI") != nullptr) FAIL() << path << " is missing: run tools/fetch_model.sh";
      GTEST_SKIP() << path << " is missing: run tools/fetch_model.sh";
    }
    auto file = GgufFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status();
    auto tokenizer = Tokenizer::FromGguf(**file);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
    golden_ = nlohmann::json::parse(std::ifstream(PATELLA_TEST_DATA "/smollm2.json"));
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  nlohmann::json golden_;
};

TEST_F(GoldenTextTest, IdsAreTheReferenceTokenizers) {
  ASSERT_GT(golden_["encode"].size(), 150u);
  for (const auto& row : golden_["encode"]) {
    const auto text = row[0].get<std::string>();
    EXPECT_EQ(tokenizer_->Encode(text, true, true), row[1].get<std::vector<int32_t>>()) << row[0];
  }
}

TEST_F(GoldenTextTest, DecodingGivesTheTextBack) {
  for (const auto& row : golden_["encode"]) {
    const auto text = row[0].get<std::string>();
    EXPECT_EQ(tokenizer_->Decode(tokenizer_->Encode(text, false, false)), text);
    EXPECT_EQ(tokenizer_->Decode(tokenizer_->Encode(text, false, true), false), text);
  }
}

TEST_F(GoldenTextTest, RandomTextRoundTrips) {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (unsigned i = random() % 40; i > 0; --i) {
      const auto& rows = golden_["encode"];
      const auto piece = rows[random() % rows.size()][0].get<std::string>();
      // Cut at a boundary between code points.
      size_t cut = piece.empty() ? 0 : random() % piece.size();
      while (cut > 0 && cut < piece.size() && (static_cast<unsigned char>(piece[cut]) & 0xc0) == 0x80) --cut;
      text += piece.substr(0, cut);
    }
    ASSERT_EQ(tokenizer_->Decode(tokenizer_->Encode(text, false, false)), text);
  }
}

TEST_F(GoldenTextTest, InvalidBytesNeverCrashAndDecodeToValidText) {
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (unsigned i = random() % 60; i > 0; --i) text += static_cast<char>(random());
    const std::string back = tokenizer_->Decode(tokenizer_->Encode(text, true, true), false);
    Utf8Stream stream;
    EXPECT_EQ(stream.Push(back) + stream.Flush(), back);
  }
}

TEST_F(GoldenTextTest, ChatsReadAsTheModelsTemplateWritesThem) {
  ASSERT_FALSE(golden_["chats"].empty());
  for (const auto& chat : golden_["chats"]) {
    std::vector<ChatMessage> messages;
    for (const auto& message : chat["messages"]) messages.push_back({message["role"], message["content"]});
    EXPECT_EQ(*tokenizer_->ApplyChatTemplate(messages, chat["generate"]), chat["text"].get<std::string>());
  }
}

TEST_F(GoldenTextTest, SpecialTokensAreReadOnlyWhereAsked) {
  EXPECT_EQ(tokenizer_->Encode("<|im_end|>", false, true), std::vector<int32_t>{2});
  EXPECT_GT(tokenizer_->Encode("<|im_end|>", false, false).size(), 1u);
  EXPECT_TRUE(tokenizer_->IsEndOfGeneration(2));
  EXPECT_TRUE(tokenizer_->IsEndOfGeneration(0));
  EXPECT_FALSE(tokenizer_->IsEndOfGeneration(1));
  EXPECT_EQ(tokenizer_->TokenBytes(2), "");
  EXPECT_EQ(tokenizer_->TokenBytes(2, true), "<|im_end|>");
  EXPECT_EQ(tokenizer_->TokenBytes(-1) + tokenizer_->TokenBytes(49152), "");
  EXPECT_EQ(tokenizer_->vocab_size(), 49152);
  EXPECT_EQ(tokenizer_->eos_id(), 2);
}

TEST_F(GoldenTextTest, ThreadsShareOneTokenizer) {
  const auto text = golden_["encode"][20][0].get<std::string>();
  const std::vector<int32_t> expected = tokenizer_->Encode(text, true, true);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) wrong += tokenizer_->Encode(text, true, true) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace patella::engine
