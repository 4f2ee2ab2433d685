// FNV-1a, 64 bits: for names and revisions that follow from their content. Stable over versions and machines; not for secrets.
#pragma once

#include <cstdint>
#include <string_view>

namespace patella {

inline constexpr uint64_t kFnvBasis = 0xcbf29ce484222325u;

constexpr uint64_t FnvMix(uint64_t hash, uint64_t value) { return (hash ^ value) * 0x100000001b3u; }

constexpr uint64_t Fnv1a(std::string_view text, uint64_t hash = kFnvBasis) {
  for (const char c : text) hash = FnvMix(hash, static_cast<unsigned char>(c));
  return hash;
}

}  // namespace patella
