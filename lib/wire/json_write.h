// Writing JSON for clients. Internal to lib/wire's .cc files (it includes nlohmann's header).
#pragma once

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

namespace patella::wire {

using OrderedJson = nlohmann::ordered_json;

// Text from a model need not be UTF-8 until it is whole.
template <typename J>
std::string Dump(const J& value) {
  return value.dump(-1, ' ', false, J::error_handler_t::replace);
}

// The shortest decimal that is this float again; null for NaN.
inline OrderedJson Number(float value) {
  if (!std::isfinite(value)) return nullptr;
  char text[32];
  *std::to_chars(text, text + sizeof text - 1, value).ptr = 0;
  return std::strtod(text, nullptr);
}

}  // namespace patella::wire
