// The quantised forward pass on the real model, teacher-forced, against float weights and activations.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <numeric>
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
    "The history of the steam engine begins long before the railway. Miners needed to lift water out of deep shafts, and the "
    "first engines were large, slow and hungry for coal. They filled a cylinder with steam, cooled it with a spray of cold "
    "water, and let the weight of the air push the piston down. Every stroke heated the cylinder and cooled it again, so most "
    "of the heat was lost. When a separate condenser was added, the cylinder could stay hot, and the same work was done with a "
    "quarter of the fuel. Soon the engine turned wheels, drove looms and pulled trains. Cities grew where coal was cheap, and "
    "people who had never travelled more than a day from home could cross a country in an afternoon. Scientists then asked how "
    "much work could be had from a given amount of heat, and in answering that question they discovered the laws of "
    "thermodynamics. Today most of the electricity in the world is still made by steam that turns a turbine.";

struct Difference {
  double kl;
  bool same_top;
};

Difference Compare(const std::vector<float>& want, const std::vector<float>& got) {
  const auto log_sum = [](const std::vector<float>& x, size_t top) {
    double sum = 0;
    for (float v : x) sum += std::exp(double{v} - x[top]);
    return std::log(sum) + x[top];
  };
  const auto top = [](const std::vector<float>& x) {
    return static_cast<size_t>(std::max_element(x.begin(), x.end()) - x.begin());
  };
  const size_t a = top(want), b = top(got);
  const double za = log_sum(want, a), zb = log_sum(got, b);
  double kl = 0;
  for (size_t i = 0; i < want.size(); ++i) kl += std::exp(want[i] - za) * ((want[i] - za) - (got[i] - zb));
  return {kl, a == b};
}

TEST(AccuracyTest, QuantisedForwardStaysCloseToTheFloatReferenceOnRealText) {
  const std::string path = ModelPath();
  if (!std::filesystem::exists(path)) {
    if (std::getenv("CI") != nullptr) FAIL() << path << " is missing; fetch it with tools/fetch_model.sh";
    GTEST_SKIP() << path << " is missing; fetch it with tools/fetch_model.sh";
  }
  const auto file = GgufFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  const CpuOptions options{.kv_tokens = 1024, .max_tokens_per_forward = 64};
  const auto fast = LoadLlama(**file, {options, nullptr, false});
  const auto exact = LoadLlama(**file, {options, nullptr, true});
  ASSERT_TRUE(fast.ok() && exact.ok());
  const std::vector<int32_t> tokens = Tokens(**file, kText);
  ASSERT_GT(tokens.size(), 100u);
  std::vector<int32_t> blocks(64);
  std::iota(blocks.begin(), blocks.end(), 0);
  double kl = 0, surprise = 0;
  int same = 0;
  std::vector<float> want, got;
  for (size_t t = 0; t + 1 < tokens.size(); ++t) {
    const StepItem item{{&tokens[t], 1}, static_cast<int>(t), blocks, true};
    ASSERT_TRUE((*exact)->Forward({&item, 1}, &want).ok() && (*fast)->Forward({&item, 1}, &got).ok());
    const Difference d = Compare(want, got);
    kl += d.kl;
    same += d.same_top ? 1 : 0;
    double sum = 0;
    for (float v : got) sum += std::exp(double{v});
    surprise += std::log(sum) - got[static_cast<size_t>(tokens[t + 1])];
  }
  const double positions = static_cast<double>(tokens.size() - 1);
  std::printf("%.0f positions: KL %.5f, same top token %.1f %%, perplexity %.1f\n", positions, kl / positions,
              100 * same / positions, std::exp(surprise / positions));
  EXPECT_LT(kl / positions, 0.02);
  EXPECT_GT(same / positions, 0.9);
  EXPECT_LT(std::exp(surprise / positions), 40) << "a wrong forward pass gives thousands";
}

}  // namespace
}  // namespace patella::engine
