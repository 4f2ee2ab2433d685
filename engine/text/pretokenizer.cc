#include "engine/text/pretokenizer.h"

#include <algorithm>
#include <cstdint>

#include "engine/text/unicode.h"
#include "lib/base/text.h"

namespace patella::engine {
namespace {

struct Char {
  uint32_t value;
  uint32_t bytes : 24;
  CharClass kind;
};

class Matcher {
 public:
  explicit Matcher(std::string_view text) {
    chars_.reserve(text.size());
    while (!text.empty()) {
      const CodePoint next = FirstCodePoint(text);
      const bool valid = next.state == CodePoint::State::kValid;
      // U+FFFD is a symbol, but so that one byte cannot swallow its valid neighbours, an invalid one is taken alone.
      chars_.push_back({next.value, valid ? next.bytes : 1, valid ? Classify(next.value) : CharClass::kOther});
      text.remove_prefix(valid ? next.bytes : 1);
    }
    end_ = chars_.size();
  }

  size_t size() const { return chars_.size(); }
  uint32_t bytes(size_t i) const { return chars_[i].bytes; }
  CharClass kind(size_t i) const { return chars_[i].kind; }
  // Matches look no further than `end`.
  void set_end(size_t end) { end_ = end; }

  // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  size_t Gpt2(size_t i) const {
    if (const size_t after = Contraction(i, false); after != i) return after;
    const size_t word = i + (Is(i, ' ') ? 1 : 0);
    if (word < end_ && kind(word) != CharClass::kSpace) return RunEnd(word);
    return Spaces(i);
  }

  // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  // Qwen 2 differs in \p{N} for \p{N}{1,3}.
  size_t Llama3(size_t i, size_t most_digits) const {
    if (const size_t after = Contraction(i, true); after != i) return after;
    if (kind(i) == CharClass::kLetter) return RunEnd(i);
    if (kind(i) == CharClass::kNumber) return std::min(RunEnd(i), i + most_digits);
    if (!IsNewline(i) && IsKind(i + 1, CharClass::kLetter)) return RunEnd(i + 1);
    const size_t symbol = i + (Is(i, ' ') ? 1 : 0);
    if (IsKind(symbol, CharClass::kOther)) {
      size_t after = RunEnd(symbol);
      while (IsNewline(after)) ++after;
      return after;
    }
    for (size_t last = RunEnd(i); last > i; --last) {
      if (IsNewline(last - 1)) return last;
    }
    return Spaces(i);
  }

 private:
  bool Is(size_t i, uint32_t value) const { return i < end_ && chars_[i].value == value; }
  bool IsNewline(size_t i) const { return Is(i, '\r') || Is(i, '\n'); }
  bool IsKind(size_t i, CharClass wanted) const { return i < end_ && kind(i) == wanted; }

  size_t RunEnd(size_t i) const {
    const CharClass wanted = kind(i);
    while (i < end_ && kind(i) == wanted) ++i;
    return i;
  }

  // \s+(?!\S)|\s+ : all white space but the last before a word, which belongs to the word.
  size_t Spaces(size_t i) const {
    const size_t after = RunEnd(i);
    return after == end_ || after == i + 1 ? after : after - 1;
  }

  size_t Contraction(size_t i, bool ignore_case) const {
    if (!Is(i, '\'') || i + 1 >= end_) return i;
    const auto letter = [&](size_t at) -> uint32_t {
      if (at >= end_) return 0;
      const uint32_t value = chars_[at].value;
      if (ignore_case && value == 0x17f) return 's';  // long s folds to s
      return ignore_case && value >= 'A' && value <= 'Z' ? value + 32 : value;
    };
    const uint32_t first = letter(i + 1);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return i + 2;
    const uint32_t second = letter(i + 2);
    const bool two = ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
    return two ? i + 3 : i;
  }

  std::vector<Char> chars_;
  size_t end_ = 0;
};

size_t Next(PreTokenizer kind, Matcher& matcher, size_t i) {
  switch (kind) {
    case PreTokenizer::kGpt2:
      return matcher.Gpt2(i);
    case PreTokenizer::kLlama3:
      return matcher.Llama3(i, 3);
    case PreTokenizer::kQwen2:
      return matcher.Llama3(i, 1);
    case PreTokenizer::kSmollm:
      return matcher.kind(i) == CharClass::kNumber ? i + 1 : matcher.Gpt2(i);
  }
  return i + 1;
}

}  // namespace

absl::StatusOr<PreTokenizer> FindPreTokenizer(std::string_view name) {
  if (name == "gpt-2" || name == "gpt2" || name == "default" || name.empty()) return PreTokenizer::kGpt2;
  if (name == "smollm") return PreTokenizer::kSmollm;
  if (name == "llama-bpe" || name == "llama3" || name == "llama-v3") return PreTokenizer::kLlama3;
  if (name == "qwen2") return PreTokenizer::kQwen2;
  return absl::UnimplementedError(
      StrCat("tokenizer.ggml.pre \"", name, "\" is not supported; supported are gpt-2, smollm, llama-bpe and qwen2"));
}

void SplitWords(PreTokenizer kind, std::string_view text, std::vector<std::string_view>& words) {
  Matcher matcher(text);
  size_t byte = 0;
  size_t digit = 0;  // smollm splits at numbers first: the other words look no further than the next one
  for (size_t i = 0; i < matcher.size();) {
    if (kind == PreTokenizer::kSmollm && digit <= i) {
      digit = i + 1;
      while (digit < matcher.size() && matcher.kind(digit) != CharClass::kNumber) ++digit;
      matcher.set_end(digit);
    }
    const size_t after = Next(kind, matcher, i);
    const size_t begin = byte;
    for (; i < after; ++i) byte += matcher.bytes(i);
    words.push_back(text.substr(begin, byte - begin));
  }
}

}  // namespace patella::engine
