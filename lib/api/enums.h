// The names of the API's closed choices as users write them. generated/enums.h holds the enums and specialises EnumNames for each.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace patella::api {

// kNames[i] is the name of the value i.
template <typename E>
struct EnumNames;

template <typename E>
constexpr std::string_view NameOf(E value) {
  return EnumNames<E>::kNames[static_cast<size_t>(value)];
}

}  // namespace patella::api
