// Natural text of about n tokens, never twice the same beginning.
//
// Real sentences, because random words would spoil what engines do with likely text (speculative decoding); a random lead, because prompts with a
// common beginning would be served from a prefix cache. Deterministic for a seed. Not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/random.h"

namespace patella::loadgen {

struct Prompt {
  std::string text;
  int words = 0;
};

class PromptMaker {
 public:
  explicit PromptMaker(uint64_t seed);

  // About `tokens` (≥ 1) tokens by what has been observed so far; at first 1.15 tokens a word are assumed.
  Prompt Make(int tokens);

  // An engine says that a prompt of `words` words was `tokens` tokens. Corrects the ratio; values ≤ 0 are ignored.
  void Observe(int words, int tokens);

  double tokens_per_word() const { return tokens_seen_ / words_seen_; }

 private:
  void AppendSentence(Prompt& prompt, int words_wanted);
  void AppendWord(Prompt& prompt, std::string_view word);
  size_t Below(size_t n) { return static_cast<size_t>(random_.UniformInt(0, static_cast<int64_t>(n) - 1)); }

  Random random_;
  uint64_t next_number_;
  double tokens_seen_ = 1.15 * 16;  // a weak assumption, as of 16 words
  double words_seen_ = 16;
};

}  // namespace patella::loadgen
