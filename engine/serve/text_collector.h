// From tokens to the text a client gets: whole code points, and an end at the first stop sequence.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/text/tokenizer.h"
#include "lib/wire/generation.h"

namespace patella::engine {

// One answer's text. Loop thread.
class TextCollector {
 public:
  // keeps_stop: the stop sequence stays in the text (TGI) or is cut off (OpenAI). settles: Piece::settled is wanted.
  TextCollector(const Tokenizer& tokenizer, std::vector<std::string> stop, bool keeps_stop, bool settles = false)
      : tokenizer_(tokenizer), stop_(std::move(stop)), keeps_stop_(keeps_stop), settles_(settles) {}

  struct Piece {
    wire::TokenText token;  // with the text this token completed (TGI's view)
    std::string delta;      // text that is now certain: never part of a stop sequence (OpenAI's view)
    std::vector<wire::TokenText>
        settled;           // tokens that begin in the text given so far and were not in an earlier piece
    bool stopped = false;  // a stop sequence is complete
  };
  // `token`: id, logprob and top; the rest is filled here.
  Piece Push(wire::TokenText token, bool last);

  const std::string& text() const { return text_; }

 private:
  size_t Certain(size_t from) const;

  const Tokenizer& tokenizer_;
  const std::vector<std::string> stop_;
  const bool keeps_stop_;
  const bool settles_;
  Utf8Stream utf8_;
  std::string text_;
  size_t given_ = 0;                                           // bytes of text_ given as deltas
  size_t code_points_ = 0;                                     // of text_
  std::vector<std::pair<size_t, wire::TokenText>> unsettled_;  // with the byte of text_ at which each begins
};

}  // namespace patella::engine
