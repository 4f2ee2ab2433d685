// Small text functions over std::string_view.
//
// Debian's Abseil is built with a string_view of its own, which std::string_view does not convert to, so that
// absl::StrCat and its kin refuse one. These take it.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace patella {

inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

namespace text_internal {
inline void AppendOne(std::string& out, std::string_view value) { out.append(value); }
inline void AppendOne(std::string& out, absl::string_view value) { out.append(value.data(), value.size()); }
inline void AppendOne(std::string& out, const std::string& value) { out.append(value); }
inline void AppendOne(std::string& out, const char* value) { out.append(value); }
inline void AppendOne(std::string& out, char value) { out.push_back(value); }
inline void AppendOne(std::string& out, bool value) { out.append(value ? "true" : "false"); }
template <typename T>
requires(std::is_arithmetic_v<T> && !std::same_as<T, bool> && !std::same_as<T, char>) void AppendOne(std::string& out,
                                                                                                     T value) {
  absl::StrAppend(&out, value);  // doubles as %g: six digits
}
}  // namespace text_internal

template <typename... Ts>
void StrAppend(std::string* out, const Ts&... values) {
  (text_internal::AppendOne(*out, values), ...);
}

template <typename... Ts>
std::string StrCat(const Ts&... values) {
  std::string out;
  StrAppend(&out, values...);
  return out;
}

inline std::string Hex(uint64_t value) { return absl::StrCat(absl::Hex(value)); }

inline std::string ToLower(std::string_view text) { return absl::AsciiStrToLower(ToAbsl(text)); }
inline std::string ToUpper(std::string_view text) { return absl::AsciiStrToUpper(ToAbsl(text)); }

inline bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (absl::ascii_tolower(static_cast<unsigned char>(a[i])) != absl::ascii_tolower(static_cast<unsigned char>(b[i])))
      return false;
  }
  return true;
}

inline bool StartsWithIgnoringCase(std::string_view text, std::string_view prefix) {
  return EqualsIgnoringCase(text.substr(0, prefix.size()), prefix);
}

// Without white space at either end.
inline std::string_view Strip(std::string_view text) { return ToStd(absl::StripAsciiWhitespace(ToAbsl(text))); }

// The parts between separators; views into `text`. An empty text is one empty part.
inline std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

template <typename Range>
std::string Join(const Range& parts, std::string_view separator) {
  std::string out;
  bool first = true;
  for (const auto& part : parts) {
    if (!first) out.append(separator);
    first = false;
    text_internal::AppendOne(out, part);
  }
  return out;
}

// The whole of `text` as a number; false if it is not one or does not fit.
inline bool ParseInt(std::string_view text, int64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}
inline bool ParseDouble(std::string_view text, double* value) {
  return !text.empty() && absl::SimpleAtod(ToAbsl(text), value);
}

}  // namespace patella
