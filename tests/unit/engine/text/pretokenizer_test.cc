// The hand-written matchers against the words that the regular expressions give (tools/golden_text.py).
#include "engine/text/pretokenizer.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace patella::engine {
namespace {

TEST(PreTokenizerTest, WordsAreThoseOfTheRegularExpressions) {
  const nlohmann::json golden = nlohmann::json::parse(std::ifstream(PATELLA_TEST_DATA "/pretokenizers.json"));
  ASSERT_EQ(golden.size(), 4u);
  for (const auto& [name, texts] : golden.items()) {
    const auto kind = FindPreTokenizer(name);
    ASSERT_TRUE(kind.ok());
    for (const auto& expected : texts) {
      std::string text;
      for (const auto& word : expected) text += word.get<std::string>();
      std::vector<std::string_view> words;
      SplitWords(*kind, text, words);
      EXPECT_EQ(std::vector<std::string>(words.begin(), words.end()), expected.get<std::vector<std::string>>()) << name;
    }
  }
}

}  // namespace
}  // namespace patella::engine
