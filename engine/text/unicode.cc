#include "engine/text/unicode.h"

#include <algorithm>
#include <array>

namespace patella::engine {
namespace {

CharClass Search(uint32_t code_point) {
  const uint32_t* const end = kUnicodeRuns + kUnicodeRunCount;
  const uint32_t* const after = std::upper_bound(kUnicodeRuns, end, code_point << 2 | 3);
  return static_cast<CharClass>(after[-1] & 3);
}

constexpr uint32_t kDirect = 0x800;  // looked up without a search: Latin, Greek, Cyrillic, Hebrew, Arabic

const std::array<CharClass, kDirect>& DirectTable() {
  static const std::array<CharClass, kDirect> table = [] {
    std::array<CharClass, kDirect> filled;
    for (uint32_t i = 0; i < kDirect; ++i) filled[i] = Search(i);
    return filled;
  }();
  return table;
}

}  // namespace

CharClass Classify(uint32_t code_point) {
  return code_point < kDirect ? DirectTable()[code_point] : Search(code_point);
}

CodePoint FirstCodePoint(std::string_view text) {
  constexpr uint32_t kReplacement = 0xfffd;
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, CodePoint::State::kValid};
  if (lead < 0xc2 || lead > 0xf4) return {kReplacement, 1, CodePoint::State::kInvalid};
  const uint32_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  uint32_t value = lead & (0x7fu >> length);
  for (uint32_t i = 1; i < length; ++i) {
    if (i == text.size()) return {kReplacement, i, CodePoint::State::kIncomplete};
    // The second byte's range rules out overlong forms, surrogates and values beyond U+10FFFF.
    const uint32_t low = i > 1 ? 0x80 : lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const uint32_t high = i > 1 ? 0xbf : lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (byte(i) < low || byte(i) > high) return {kReplacement, i, CodePoint::State::kInvalid};
    value = value << 6 | (byte(i) & 0x3f);
  }
  return {value, length, CodePoint::State::kValid};
}

}  // namespace patella::engine
