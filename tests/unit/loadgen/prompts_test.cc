#include "lib/loadgen/prompts.h"

#include <algorithm>
#include <set>

#include "gtest/gtest.h"

namespace patella::loadgen {
namespace {

TEST(PromptMakerTest, TheSameSeedGivesTheSamePrompts) {
  PromptMaker a(7), b(7), c(8);
  const std::string first = a.Make(50).text;
  EXPECT_EQ(first, b.Make(50).text);
  EXPECT_NE(first, c.Make(50).text);
}

TEST(PromptMakerTest, NoTwoPromptsShareTheirFirstWords) {
  PromptMaker maker(1);
  std::set<std::string> beginnings;
  for (int i = 0; i < 1000; ++i) {
    const std::string text = maker.Make(40).text;
    beginnings.insert(text.substr(0, text.find(':')));
  }
  EXPECT_EQ(beginnings.size(), 1000u);
}

TEST(PromptMakerTest, CountsItsWords) {
  PromptMaker maker(1);
  for (int tokens : {1, 2, 5, 17, 128, 1000}) {
    const Prompt prompt = maker.Make(tokens);
    EXPECT_EQ(prompt.words, 1 + std::count(prompt.text.begin(), prompt.text.end(), ' ')) << prompt.text;
    EXPECT_GE(prompt.words, 1);
  }
}

TEST(PromptMakerTest, LearnsHowManyTokensAWordIs) {
  PromptMaker maker(1);
  for (int i = 0; i < 20; ++i) {
    const int words = maker.Make(400).words;
    maker.Observe(words, 2 * words);
  }
  EXPECT_EQ(maker.Make(400).words, 200);
  maker.Observe(0, 5);
  maker.Observe(5, -1);
  EXPECT_EQ(maker.Make(400).words, 200);
}

}  // namespace
}  // namespace patella::loadgen
