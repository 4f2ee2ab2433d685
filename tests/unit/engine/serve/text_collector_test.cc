// When a token's text and log probability may be given away.
#include "engine/serve/text_collector.h"

#include <gtest/gtest.h>

#include "tests/unit/engine/serve/fakes.h"

namespace patella::engine {
namespace {

std::string Settled(const TextCollector::Piece& piece) {
  std::string bytes;
  for (const wire::TokenText& token : piece.settled) bytes += token.bytes;
  return bytes;
}

TEST(TextCollectorTest, TokensSettleWithTheTextTheyBeginIn) {
  ByteTokenizer tokenizer;
  TextCollector collector(tokenizer, {"xyz"}, /*keeps_stop=*/false, /*settles=*/true);
  EXPECT_EQ(Settled(collector.Push({.id = 'a'}, false)), "a");
  EXPECT_EQ(Settled(collector.Push({.id = 'x'}, false)), "") << "may begin the stop sequence";
  EXPECT_EQ(Settled(collector.Push({.id = 'y'}, false)), "");
  const TextCollector::Piece piece = collector.Push({.id = 'b'}, false);
  EXPECT_EQ(piece.delta, "xyb");
  EXPECT_EQ(Settled(piece), "xyb");
  EXPECT_EQ(piece.settled[2].start, 3u);
}

TEST(TextCollectorTest, TokensOfTheStopSequenceNeverSettle) {
  ByteTokenizer tokenizer;
  TextCollector collector(tokenizer, {"xy"}, false, true);
  std::string settled;
  for (char c : std::string("axbxy")) settled += Settled(collector.Push({.id = c}, false));
  EXPECT_EQ(settled, "axb");
  EXPECT_EQ(collector.text(), "axb");
}

TEST(TextCollectorTest, PartsOfOneCodePointSettleTogetherAtItsPlace) {
  ByteTokenizer tokenizer;
  TextCollector collector(tokenizer, {}, false, true);
  const std::string text = "é€x";  // 2, 3 and 1 bytes
  std::vector<wire::TokenText> settled;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto piece = collector.Push({.id = static_cast<uint8_t>(text[i])}, i + 1 == text.size());
    settled.insert(settled.end(), piece.settled.begin(), piece.settled.end());
    EXPECT_TRUE(i > 0 || piece.settled.empty());
  }
  ASSERT_EQ(settled.size(), 6u);
  std::vector<size_t> starts;
  for (const auto& token : settled) starts.push_back(token.start);
  EXPECT_EQ(starts, (std::vector<size_t>{0, 0, 1, 1, 1, 2}));
}

TEST(TextCollectorTest, AnEndTokenIsNoPartOfTheText) {
  ByteTokenizer tokenizer;
  TextCollector collector(tokenizer, {}, false, true);
  (void)collector.Push({.id = 'a'}, false);
  const auto piece = collector.Push({.id = 0}, true);
  EXPECT_TRUE(piece.settled.empty());
  EXPECT_EQ(piece.token.text, "<end>");
  EXPECT_EQ(collector.text(), "a");
}

}  // namespace
}  // namespace patella::engine
