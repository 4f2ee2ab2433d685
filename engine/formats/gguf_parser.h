// Parses the bytes of a GGUF file. Internal to engine/formats; callers use gguf.h.
#pragma once

#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/formats/gguf.h"

namespace patella::engine {

// std::monostate: a nested or 64-bit array that no caller reads; it is checked and skipped.
using GgufValue = std::variant<std::monostate, int64_t, double, std::string, std::vector<int64_t>, std::vector<float>,
                               std::vector<std::string>>;

struct GgufContents {
  absl::flat_hash_map<std::string, GgufValue> metadata;
  std::vector<TensorInfo> tensors;  // spans into the bytes given
};

// `name` is what errors call the file.
absl::StatusOr<GgufContents> ParseGguf(const std::string& name, std::span<const std::byte> bytes);

}  // namespace patella::engine
