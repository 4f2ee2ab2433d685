// Builds small GGUF files (version 3): tiny random models for tests and tools. Not for large models: all is held in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/formats/gguf.h"

namespace patella::engine {

// Quantises `values` (a multiple of the block length) by plain rounding; the inverse of Dequantize up to that rounding.
std::vector<std::byte> Quantize(TensorType type, std::span<const float> values);

class GgufWriter {
 public:
  void SetString(std::string_view key, std::string_view value);
  void SetUint32(std::string_view key, uint32_t value);
  void SetInt64(std::string_view key, int64_t value);
  void SetFloat(std::string_view key, float value);
  void SetBool(std::string_view key, bool value);
  void SetStrings(std::string_view key, std::span<const std::string> values);
  void SetInts(std::string_view key, std::span<const int32_t> values);
  void SetFloats(std::string_view key, std::span<const float> values);

  // dims[0] = K (row length), dims[1] = rows. `data` is whole blocks, as the type lays them out.
  void AddTensor(std::string_view name, TensorType type, std::vector<uint64_t> dims, std::vector<std::byte> data);
  // Quantises the floats to `type` first.
  void AddFloats(std::string_view name, TensorType type, std::vector<uint64_t> dims, std::span<const float> values);

  std::string Bytes() const;
  absl::Status WriteTo(const std::string& path) const;

 private:
  struct Tensor {
    std::string name;
    uint32_t type;
    std::vector<uint64_t> dims;
    std::vector<std::byte> data;
  };
  void BeginValue(std::string_view key, uint32_t type);
  void BeginArray(std::string_view key, uint32_t element_type, uint64_t count);

  uint64_t key_count_ = 0;
  std::string metadata_;
  std::vector<Tensor> tensors_;
};

}  // namespace patella::engine
