#include "engine/serve/text_collector.h"

#include <algorithm>

namespace patella::engine {
namespace {

// Of whole ones: bytes that do not continue another.
size_t CountCodePoints(std::string_view utf8) {
  return std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

}  // namespace

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

TextCollector::Piece TextCollector::Push(wire::TokenText token, bool last) {
  Piece piece;
  token.special = tokenizer_.IsSpecial(token.id);
  token.bytes = tokenizer_.TokenBytes(token.id, /*special=*/true);
  token.start = code_points_;
  for (wire::TokenText& top : token.top) {
    top.special = tokenizer_.IsSpecial(top.id);
    top.text = top.bytes = tokenizer_.TokenBytes(top.id, /*special=*/true);
  }
  const size_t before = text_.size();
  if (token.special) {
    token.text = token.bytes;
    if (last) text_ += utf8_.Flush();
  } else {
    token.text = utf8_.Push(token.bytes);
    if (last) token.text += utf8_.Flush();
    text_ += token.text;
    if (settles_) unsettled_.emplace_back(before, token);
  }
  code_points_ += CountCodePoints(std::string_view(text_).substr(before));
  piece.token = std::move(token);
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
  const auto settled =
      std::find_if(unsettled_.begin(), unsettled_.end(), [&](const auto& u) { return u.first >= given_; });
  for (auto at = unsettled_.begin(); at != settled; ++at) piece.settled.push_back(std::move(at->second));
  unsettled_.erase(unsettled_.begin(), settled);
  return piece;
}

}  // namespace patella::engine
