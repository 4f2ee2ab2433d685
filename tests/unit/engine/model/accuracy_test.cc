// The quantised forward pass on the real model, teacher-forced, against float weights and activations.
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <span>

#include "engine/model/llama.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/real_model.h"

namespace patella::engine {
namespace {

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
  PATELLA_OPEN_REAL_MODEL(file);
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
  // 1.2 times llama.cpp's divergence on the same file, and half a point below its agreement, as `make bench-accuracy` measured them
  // (0.00313 over the 64 likeliest tokens, where ours is 0.00307; 96.6 %).
  EXPECT_LT(kl / positions, 0.0045);
  EXPECT_GT(same / positions, 0.961);
  EXPECT_LT(std::exp(surprise / positions), 40) << "a wrong forward pass gives thousands";
}

}  // namespace
}  // namespace patella::engine
