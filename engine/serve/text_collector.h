// From tokens to the text a client gets: whole code points, and an end at the first stop sequence.
#pragma once

#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "lib/wire/generation.h"

namespace patella::engine {

// One answer's text. Loop thread.
class TextCollector {
 public:
  TextCollector(const Tokenizer& tokenizer, std::vector<std::string> stop, bool keeps_stop)
      : tokenizer_(tokenizer), stop_(std::move(stop)), keeps_stop_(keeps_stop) {}

  struct Piece {
    wire::TokenText token;  // with the text this token completed (TGI's view)
    std::string delta;      // text that is now certain: never part of a stop sequence (OpenAI's view)
    bool stopped = false;   // a stop sequence is complete
  };
  Piece Push(int32_t token, float logprob, bool last);

  const std::string& text() const { return text_; }

 private:
  size_t Certain(size_t from) const;

  const Tokenizer& tokenizer_;
  const std::vector<std::string> stop_;
  const bool keeps_stop_;  // TGI leaves the stop sequence in the text, OpenAI cuts it off
  Utf8Stream utf8_;
  std::string text_;
  size_t given_ = 0;  // bytes of text_ given as deltas
};

}  // namespace patella::engine
