#include "engine/serve/text_collector.h"

#include <algorithm>

namespace patella::engine {

// The end of what cannot become part of a stop sequence: before the longest tail that begins one.
size_t TextCollector::Certain(size_t from) const {
  size_t held = 0;
  for (const std::string& stop : stop_) {
    for (size_t n = std::min(stop.size() - 1, text_.size() - from); n > held; --n) {
      if (text_.compare(text_.size() - n, n, stop, 0, n) == 0) held = n;
    }
  }
  return text_.size() - held;
}

TextCollector::Piece TextCollector::Push(int32_t token, float logprob, bool last) {
  Piece piece;
  piece.token = {.id = token, .logprob = logprob, .special = tokenizer_.IsSpecial(token)};
  const size_t before = text_.size();
  if (piece.token.special) {
    piece.token.text = tokenizer_.TokenBytes(token, /*special=*/true);
    if (last) text_ += utf8_.Flush();
  } else {
    piece.token.text = utf8_.Push(tokenizer_.TokenBytes(token));
    if (last) piece.token.text += utf8_.Flush();
    text_ += piece.token.text;
  }
  size_t found = std::string::npos;
  size_t length = 0;
  for (const std::string& stop : stop_) {
    const size_t from = before - std::min(before, stop.size() - 1);
    const size_t at = text_.find(stop, from);
    if (at < found) {
      found = at;
      length = stop.size();
    }
  }
  piece.stopped = found != std::string::npos;
  if (piece.stopped) text_.resize(keeps_stop_ ? found + length : found);
  const size_t end = piece.stopped || last ? text_.size() : Certain(std::min(given_, text_.size()));
  if (end > given_) {
    piece.delta = text_.substr(given_, end - given_);
    given_ = end;
  }
  return piece;
}

}  // namespace patella::engine
