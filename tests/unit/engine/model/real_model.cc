#include "tests/unit/engine/model/real_model.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>

namespace patella::engine {

std::string ModelPath() {
  if (const char* path = std::getenv("PATELLA_MODEL")) return path;
  const char* cache = std::getenv("PATELLA_CACHE");
  const char* home = std::getenv("HOME");
  const std::string root = cache != nullptr ? cache : std::string(home != nullptr ? home : "") + "/.cache/patella";
  return root + "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

// Greedy longest match over the vocabulary: not the model's tokenizer, but real words in a sensible order.
static std::vector<int32_t> Tokens(const GgufFile& file, std::string text) {
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

static constexpr char kText[] =
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

static size_t Top(std::span<const float> x) {
  return static_cast<size_t>(std::max_element(x.begin(), x.end()) - x.begin());
}

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

std::vector<int32_t> ManyTokens(const GgufFile& file, size_t count) {
  std::ifstream licence(PATELLA_LICENSE);
  std::string text = kText, word;
  while (licence >> word) text += " " + word;
  text.resize(std::min(text.size(), 6 * count));
  std::vector<int32_t> tokens = Tokens(file, text);
  tokens.resize(std::min(tokens.size(), count));
  return tokens;
}

}  // namespace patella::engine
