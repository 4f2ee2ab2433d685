#include "lib/wire/json_scan.h"

#include <charconv>
#include <cmath>

namespace patella::wire {
namespace {

constexpr std::string_view kSpace = " \t\n\r";
constexpr std::string_view kAfterScalar = " \t\n\r,:[]{}\"";

}  // namespace

void JsonCursor::SkipSpace() {
  while (at_ < text_.size() && kSpace.find(text_[at_]) != std::string_view::npos) ++at_;
}

bool JsonCursor::Eat(char wanted) {
  SkipSpace();
  if (at_ == text_.size() || text_[at_] != wanted) return false;
  ++at_;
  return true;
}

void JsonCursor::SkipString() {
  for (size_t quote = text_.find('"', at_ + 1); quote != std::string_view::npos; quote = text_.find('"', quote + 1)) {
    size_t backslashes = 0;
    while (text_[quote - 1 - backslashes] == '\\') ++backslashes;  // ends at the opening quote at the latest
    if (backslashes % 2 == 1) continue;
    at_ = quote + 1;
    return;
  }
  at_ = text_.size();
}

void JsonCursor::SkipContainer() {
  size_t depth = 0;
  do {
    const char c = text_[at_];
    if (c == '"') {
      SkipString();
      continue;
    }
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    ++at_;
  } while (depth > 0 && at_ < text_.size());
}

std::string_view JsonCursor::Value() {
  SkipSpace();
  if (at_ == text_.size()) return {};
  const size_t from = at_;
  const char c = text_[at_];
  if (c == '"') {
    SkipString();
  } else if (c == '{' || c == '[') {
    SkipContainer();
  } else {
    while (at_ < text_.size() && kAfterScalar.find(text_[at_]) == std::string_view::npos) ++at_;
  }
  return text_.substr(from, at_ - from);
}

std::string_view KeyOf(std::string_view quoted, std::string& unescaped) {
  const std::string_view raw = quoted.substr(1, quoted.size() - 2);
  if (raw.find('\\') == std::string_view::npos) return raw;
  unescaped.clear();
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\' || i + 1 == raw.size()) {
      unescaped += raw[i];
      continue;
    }
    ++i;
    unsigned code = 0;
    if (raw[i] == 'u' && i + 4 < raw.size() &&
        std::from_chars(&raw[i + 1], &raw[i + 1] + 4, code, 16).ptr == &raw[i + 1] + 4) {
      unescaped += code < 0x80 ? static_cast<char>(code) : '?';  // no key that anybody looks for has others
      i += 4;
    } else {
      unescaped += raw[i];
    }
  }
  return unescaped;
}

std::optional<double> NumberIn(std::string_view value) {
  if (value.starts_with('"')) value.remove_prefix(1);
  double number = 0;
  if (std::from_chars(value.data(), value.data() + value.size(), number).ec != std::errc()) return std::nullopt;
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

}  // namespace patella::wire
