// Text between the standard library and Abseil: Debian builds Abseil with a string_view of its own, which does not convert from or to
// std::string_view.
#pragma once

#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

#include "absl/strings/string_view.h"

namespace patella {

inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

namespace text_internal {

template <typename T>
void Append(std::string& out, const T& piece) {
  if constexpr (std::convertible_to<T, std::string_view>) {
    out += std::string_view(piece);
  } else if constexpr (std::same_as<T, absl::string_view>) {
    out += ToStd(piece);
  } else if constexpr (std::integral<T>) {
    out += std::to_string(piece);
  } else {
    static_assert(std::floating_point<T>);
    char digits[32];
    out.append(digits, static_cast<size_t>(std::snprintf(digits, sizeof digits, "%g", static_cast<double>(piece))));
  }
}

}  // namespace text_internal

// The pieces (text of any kind, integers, floating point as %g) in one string.
template <typename... Pieces>
std::string Cat(const Pieces&... pieces) {
  std::string out;
  (text_internal::Append(out, pieces), ...);
  return out;
}

}  // namespace patella
