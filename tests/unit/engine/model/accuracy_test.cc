// The quantised forward pass on the real model, teacher-forced, against float weights and activations.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <span>
#include <string>

#include "engine/model/llama.h"
#include "gtest/gtest.h"

namespace patella::engine {
namespace {

std::string ModelPath() {
  if (const char* path = std::getenv("PATELLA_MODEL")) return path;
  const char* cache = std::getenv("PATELLA_CACHE");
  const char* home = std::getenv("HOME");
  const std::string root = cache != nullptr ? cache : std::string(home != nullptr ? home : "") + "/.cache/patella";
  return root + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

// Greedy longest match over the vocabulary: not the model's tokenizer, but real words in a sensible order.
std::vector<int32_t> Tokens(const GgufFile& file, std::string text) {
  const auto vocabulary = file.GetStrings("tokenizer.ggml.tokens");
  std::string spaced;
  for (char c : text) spaced += c == ' ' ? "\u0120" : std::string(1, c);
  std::vector<int32_t> out;
  for (size_t at = 0; at < spaced.size();) {
    size_t best = 0, length = 0;
    for (size_t i = 0; i < vocabulary->size(); ++i) {
      const std::string& word = (*vocabulary)[i];
      if (word.size() > length && spaced.compare(at, word.size(), word) == 0) best = i, length = word.size();
    }
    if (length == 0) return {};
    out.push_back(static_cast<int32_t>(best));
    at += length;
  }
  return out;
}

constexpr char kText[] =
    "The history of the steam engine begins long before the railway. Miners needed to lift water out of deep shafts, "
    "and the "
    "first engines were large, slow and hungry for coal. They filled a cylinder with steam, cooled it with a spray of "
    "cold "
    "water, and let the weight of the air push the piston down. Every stroke heated the cylinder and cooled it again, "
    "so most "
    "of the heat was lost. When a separate condenser was added, the cylinder could stay hot, and the same work was "
    "done with a "
    "quarter of the fuel. Soon the engine turned wheels, drove looms and pulled trains. Cities grew where coal was "
    "cheap, and "
    "people who had never travelled more than a day from home could cross a country in an afternoon. Scientists then "
    "asked how "
    "much work could be had from a given amount of heat, and in answering that question they discovered the laws of "
    "thermodynamics. Today most of the electricity in the world is still made by steam that turns a turbine.";

struct Difference {
  double kl;
  bool same_top;
};

size_t Top(std::span<const float> x) { return static_cast<size_t>(std::max_element(x.begin(), x.end()) - x.begin()); }

double LogSum(std::span<const float> x) {
  const double top = x[Top(x)];
  double sum = 0;
  for (const float v : x) sum += std::exp(double{v} - top);
  return std::log(sum) + top;
}

Difference Compare(std::span<const float> want, std::span<const float> got) {
  const double za = LogSum(want), zb = LogSum(got);
  double kl = 0;
  for (size_t i = 0; i < want.size(); ++i) kl += std::exp(want[i] - za) * ((want[i] - za) - (got[i] - zb));
  return {kl, Top(want) == Top(got)};
}

// Natural text enough for `count` tokens: the words above and the project's licence.
std::vector<int32_t> ManyTokens(const GgufFile& file, size_t count) {
  std::ifstream licence(PATELLA_LICENSE);
  std::string text = kText, word;
  while (licence >> word) text += " " + word;
  text.resize(std::min(text.size(), 6 * count));
  std::vector<int32_t> tokens = Tokens(file, text);
  tokens.resize(std::min(tokens.size(), count));
  return tokens;
}

// For tools: each position's context, and the log probabilities of the reference's likeliest tokens, by it and by us.
// tests/bench/compare_accuracy.py asks llama.cpp for the same.
class Dump {
 public:
  Dump() {
    if (const char* path = std::getenv("PATELLA_LOGITS_OUT")) out_.open(path);
  }
  void Window(const std::vector<int32_t>& tokens) {
    if (!out_.is_open()) return;
    out_ << "window";
    for (const int32_t token : tokens) out_ << ' ' << token;
    out_ << "\n";
  }
  void Position(size_t window, size_t at, std::span<const float> want, std::span<const float> got) {
    if (!out_.is_open()) return;
    std::vector<int32_t> order(want.size());
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + kLikeliest, order.end(), [&](int32_t a, int32_t b) {
      return want[static_cast<size_t>(a)] > want[static_cast<size_t>(b)];
    });
    const double zw = LogSum(want), zg = LogSum(got);
    out_ << "position " << window << ' ' << at;
    for (int i = 0; i < kLikeliest; ++i) {
      const auto id = static_cast<size_t>(order[static_cast<size_t>(i)]);
      out_ << ' ' << id << ' ' << want[id] - zw << ' ' << got[id] - zg;
    }
    out_ << "\n";
  }

 private:
  static constexpr int kLikeliest = 64;
  std::ofstream out_;
};

TEST(AccuracyTest, QuantisedForwardStaysCloseToTheFloatReferenceOnRealText) {
  const std::string path = ModelPath();
  if (!std::filesystem::exists(path)) {
    if (std::getenv("CI") != nullptr) FAIL() << path << " is missing; fetch it with tools/fetch_model.sh";
    GTEST_SKIP() << path << " is missing; fetch it with tools/fetch_model.sh";
  }
  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  constexpr size_t kWindows = 8, kLength = 256;
  const CpuOptions options{.kv_tokens = kWindows * kLength, .max_tokens_per_forward = 64};
  const auto fast = LoadLlama(**file, {options, nullptr, false});
  const auto exact = LoadLlama(**file, {options, nullptr, true});
  ASSERT_TRUE(fast.ok() && exact.ok());
  const std::vector<int32_t> tokens = ManyTokens(**file, kWindows * (kLength + 1));
  ASSERT_EQ(tokens.size(), kWindows * (kLength + 1)) << "the text is too short";
  const int per_window = static_cast<int>(kLength) / (*fast)->capacity().block_size;
  std::vector<std::vector<int32_t>> windows, blocks;
  Dump dump;
  for (size_t w = 0; w < kWindows; ++w) {
    const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(w * (kLength + 1));
    windows.emplace_back(begin, begin + kLength + 1);
    blocks.emplace_back(static_cast<size_t>(per_window));
    std::iota(blocks.back().begin(), blocks.back().end(), static_cast<int>(w) * per_window);
    dump.Window(windows.back());
  }
  // One token of each window a step.
  double kl = 0, surprise = 0;
  int same = 0;
  std::vector<float> want, got;
  for (size_t t = 0; t < kLength; ++t) {
    std::vector<StepItem> items;
    for (size_t w = 0; w < kWindows; ++w) items.push_back({{&windows[w][t], 1}, static_cast<int>(t), blocks[w], true});
    ASSERT_TRUE((*exact)->Forward(items, &want).ok() && (*fast)->Forward(items, &got).ok());
    const size_t vocabulary = want.size() / kWindows;
    for (size_t w = 0; w < kWindows; ++w) {
      const auto reference = std::span(want).subspan(w * vocabulary, vocabulary);
      const auto ours = std::span(got).subspan(w * vocabulary, vocabulary);
      const Difference d = Compare(reference, ours);
      kl += d.kl;
      same += d.same_top ? 1 : 0;
      surprise += LogSum(ours) - ours[static_cast<size_t>(windows[w][t + 1])];
      dump.Position(w, t, reference, ours);
    }
  }
  const double positions = static_cast<double>(kWindows * kLength);
  std::printf("%.0f positions: KL %.5f, same top token %.1f %%, perplexity %.1f\n", positions, kl / positions,
              100 * same / positions, std::exp(surprise / positions));
  EXPECT_LT(kl / positions, 0.01);
  EXPECT_GT(same / positions, 0.93);
  EXPECT_LT(std::exp(surprise / positions), 40) << "a wrong forward pass gives thousands";
}

}  // namespace
}  // namespace patella::engine
