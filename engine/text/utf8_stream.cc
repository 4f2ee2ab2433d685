#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

namespace patella::engine {
namespace {
constexpr std::string_view kReplacement = "\xef\xbf\xbd";
}

std::string Utf8Stream::Push(std::string_view bytes) {
  held_.append(bytes);
  std::string out;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const CodePoint next = FirstCodePoint(rest);
    if (next.state == CodePoint::State::kIncomplete) break;
    out.append(next.state == CodePoint::State::kValid ? rest.substr(0, next.bytes) : kReplacement);
    rest.remove_prefix(next.bytes);
  }
  held_ = std::string(rest);
  return out;
}

std::string Utf8Stream::Flush() {
  const bool cut = !held_.empty();
  held_.clear();
  return cut ? std::string(kReplacement) : std::string();
}

}  // namespace patella::engine
