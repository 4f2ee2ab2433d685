#include "engine/model/llama.h"

#include <unistd.h>

#include <cmath>
#include <numeric>

#include "gtest/gtest.h"
#include "lib/base/random.h"
#include "tests/unit/engine/model/reference.h"

namespace patella::engine {
namespace {

std::unique_ptr<GgufFile> Tiny(TensorType type) {
  return TinyLlama(
      type, 11,
      testing::TempDir() + "patella_tiny_" + std::string(TypeName(type)) + "_" + std::to_string(getpid()) + ".gguf");
}

std::unique_ptr<Executor> Load(const GgufFile& file, const cpu::Ops* ops = nullptr, bool exact = false) {
  CpuOptions options{.threads = 2, .kv_tokens = 8192, .block_size = 16, .max_tokens_per_forward = 256};
  auto executor = LoadLlama(file, {options, ops, exact});
  EXPECT_TRUE(executor.ok()) << executor.status();
  return *std::move(executor);
}

std::vector<int32_t> Prompt(size_t length, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> tokens(length);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random.UniformInt(0, 79));
  return tokens;
}

std::vector<int32_t> Pages(int first, int count) {
  std::vector<int32_t> blocks(static_cast<size_t>(count));
  std::iota(blocks.begin(), blocks.end(), first);
  return blocks;
}

// Logits of the last token after computing the prompt in chunks.
std::vector<float> Solo(Executor& executor, std::span<const int32_t> tokens, std::span<const int32_t> blocks,
                        size_t chunk) {
  std::vector<float> logits;
  for (size_t at = 0; at < tokens.size(); at += chunk) {
    const auto part = tokens.subspan(at, std::min(chunk, tokens.size() - at));
    const StepItem item{part, static_cast<int>(at), blocks, true};
    EXPECT_TRUE(executor.Forward({&item, 1}, &logits).ok());
  }
  return logits;
}

// RMS difference in units of the expected logits' standard deviation.
template <class A, class B>
double Distance(const A& got, const B& want) {
  double mean = 0, spread = 0, difference = 0;
  for (double x : want) mean += x / static_cast<double>(want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    spread += (want[i] - mean) * (want[i] - mean);
    difference += (double{got[i]} - want[i]) * (double{got[i]} - want[i]);
  }
  return std::sqrt(difference / spread);
}

TEST(LlamaTest, FloatWeightsEqualTheDoubleReferenceOnEveryInstructionSet) {
  const auto file = Tiny(TensorType::kF32);
  const auto tokens = Prompt(40, 1);
  const auto want = ReferenceLogits(*file, tokens, Mutation::kNone);
  for (const cpu::Ops* ops : cpu::SupportedOps()) {
    EXPECT_LT(Distance(Solo(*Load(*file, ops), tokens, Pages(0, 3), 256), want), 2e-3) << ops->name;
  }
}

TEST(LlamaTest, EveryMutationOfTheReferenceExceedsTheTolerance) {
  const auto file = Tiny(TensorType::kF32);
  const auto tokens = Prompt(40, 1);
  const auto want = ReferenceLogits(*file, tokens, Mutation::kNone);
  for (Mutation m : {Mutation::kNoRope, Mutation::kWrongTheta, Mutation::kShiftedKvHeads, Mutation::kWrongEpsilon}) {
    EXPECT_GT(Distance(ReferenceLogits(*file, tokens, m), want), 6e-3) << static_cast<int>(m);
  }
}

TEST(LlamaTest, QuantisedWeightsAreWithinTheNoiseOfInt8Activations) {
  for (TensorType type :
       {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ8_0}) {
    const auto file = Tiny(type);
    const auto exact = Load(*file, nullptr, true);
    for (const cpu::Ops* ops : cpu::SupportedOps()) {
      const auto executor = Load(*file, ops);
      double mean = 0;  // one prompt's noise is one draw
      for (uint64_t prompt = 0; prompt < 8; ++prompt) {
        const auto tokens = Prompt(40, 20 + prompt);
        const auto want = ReferenceLogits(*file, tokens, Mutation::kNone);
        mean += Distance(Solo(*executor, tokens, Pages(0, 3), 256), want) / 8;
        EXPECT_LT(Distance(Solo(*exact, tokens, Pages(0, 3), 256), want), 4e-3) << TypeName(type);
      }
      EXPECT_LT(mean, 0.05) << ops->name << " " << TypeName(type);
      RecordProperty(std::string(ops->name) + "_" + std::string(TypeName(type)), std::to_string(mean));
    }
  }
}

TEST(LlamaTest, ChunksAndPermutedPagesGiveTheSameLogits) {
  const auto file = Tiny(TensorType::kQ4_1);
  const auto executor = Load(*file);
  const auto tokens = Prompt(77, 3);
  const auto whole = Solo(*executor, tokens, Pages(0, 5), 256);
  for (size_t chunk : {1, 5, 16, 33}) {
    EXPECT_LT(Distance(Solo(*executor, tokens, std::vector<int32_t>{400, 7, 9, 8, 0}, chunk), whole), 1e-4) << chunk;
  }
}

TEST(LlamaTest, SixtyFourPromptsArrivingAtRandomGetTheLogitsOfTheirSoloRuns) {
  const auto file = Tiny(TensorType::kQ4_1);
  const auto executor = Load(*file);
  struct Sequence {
    std::vector<int32_t> tokens, blocks;
    size_t arrival, done = 0;
    std::vector<float> solo;
  };
  Random random(5);
  std::vector<Sequence> sequences(64);
  for (size_t i = 0; i < 64; ++i) {
    Sequence& s = sequences[i];
    s.tokens = Prompt(static_cast<size_t>(random.UniformInt(1, 60)), 100 + i);
    s.blocks = Pages(static_cast<int>(i) * 4, 4);
    s.arrival = static_cast<size_t>(random.UniformInt(0, 30));
    s.solo = Solo(*executor, s.tokens, s.blocks, 256);
  }
  size_t finished = 0;
  std::vector<float> logits;
  for (size_t step = 0; finished < 64; ++step) {
    ASSERT_LT(step, 1000u);
    std::vector<StepItem> items;
    std::vector<Sequence*> who;
    size_t budget = 128;
    for (Sequence& s : sequences) {
      const size_t left = s.tokens.size() - s.done;
      const size_t count = std::min({left, budget, static_cast<size_t>(random.UniformInt(1, 20))});
      if (s.arrival > step || count == 0) continue;
      items.push_back({std::span(s.tokens).subspan(s.done, count), static_cast<int>(s.done), s.blocks, count == left});
      who.push_back(&s);
      s.done += count;
      budget -= count;
    }
    if (items.empty()) continue;
    ASSERT_TRUE(executor->Forward(items, &logits).ok());
    size_t row = 0;
    for (size_t i = 0; i < items.size(); ++i) {
      if (!items[i].wants_logits) continue;
      const std::span<const float> got(logits.data() + 80 * row++, 80);
      EXPECT_LT(Distance(got, who[i]->solo), 1e-4);
      ++finished;
    }
    EXPECT_EQ(logits.size(), row * 80);
  }
}

TEST(LlamaTest, EveryTokensLogitsAreThoseOfThePromptThatEndsThere) {
  const auto file = Tiny(TensorType::kQ4_1);
  const auto executor = Load(*file);
  const auto tokens = Prompt(20, 9), other = Prompt(5, 10);
  const auto pages = Pages(0, 2), far = Pages(8, 1), farther = Pages(9, 1);
  const StepItem items[] = {{other, 0, far, true}, {tokens, 0, pages, true, true}, {other, 0, farther, false}};
  std::vector<float> logits;
  ASSERT_TRUE(executor->Forward(items, &logits).ok());
  ASSERT_EQ(logits.size(), 80 * 21u);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::vector<int32_t> until(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(i) + 1);
    EXPECT_LT(Distance(std::span(logits).subspan(80 * (i + 1), 80), Solo(*executor, until, Pages(20, 2), 256)), 1e-4)
        << i;
  }
}

TEST(LlamaTest, ABatchThatBreaksTheContractIsRefused) {
  const auto file = Tiny(TensorType::kQ4_1);
  const auto executor = Load(*file);
  const auto tokens = Prompt(300, 6);
  const auto blocks = Pages(0, 20);
  const int32_t outside[] = {80}, no_block[] = {512};
  std::vector<float> logits;
  const auto code = [&](StepItem item) { return executor->Forward({&item, 1}, &logits).code(); };
  const std::span<const int32_t> one(tokens.data(), 1), few(blocks.data(), 1);
  EXPECT_EQ(code({tokens, 0, blocks, true}), absl::StatusCode::kInvalidArgument) << "more than a forward takes";
  EXPECT_EQ(code({one, 16, few, true}), absl::StatusCode::kInvalidArgument) << "the pages end before";
  EXPECT_EQ(code({outside, 0, few, true}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({one, 0, no_block, true}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({{}, 0, few, true}), absl::StatusCode::kInvalidArgument);
}

TEST(LlamaTest, ModelInfoTellsTheSizes) {
  const auto info = ReadModelInfo(*Tiny(TensorType::kQ4_1));
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->head_dim, 16);
  EXPECT_EQ(info->vocab, 80);
  EXPECT_EQ(info->kv_bytes_per_token, 2 * 2 * 2 * 2 * 16);
}

}  // namespace
}  // namespace patella::engine
