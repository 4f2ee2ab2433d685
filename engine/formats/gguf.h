// Reader for GGUF model files (version 2 and 3), memory-mapped. Untrusted input: every length and offset is checked against
// the file before use, and the error names what is wrong and what to do.
//
// Layout (little-endian): "GGUF", u32 version, u64 tensor_count, u64 kv_count, key-value pairs, tensor infos, padding to
// general.alignment (default 32), tensor data. dims[0] is the fastest: the row length K of a weight (rows, K).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace patella::engine {

enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kBF16 = 30
};

struct TensorInfo {
  std::string name;
  TensorType type;
  std::vector<uint64_t> dims;       // dims[0] = K, dims[1] = rows
  std::span<const std::byte> data;  // whole blocks, rows one after another
};

class GgufFile {
 public:
  // NotFound, or InvalidArgument that names the file, the field and the remedy.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);
  virtual ~GgufFile() = default;

  // Metadata. Each returns NotFound for an absent key and InvalidArgument for one of another type.
  virtual bool Has(std::string_view key) const = 0;
  virtual absl::StatusOr<std::string> GetString(std::string_view key) const = 0;
  virtual absl::StatusOr<int64_t> GetInt(std::string_view key) const = 0;   // any integer type or bool
  virtual absl::StatusOr<double> GetFloat(std::string_view key) const = 0;  // any number
  virtual absl::StatusOr<std::vector<std::string>> GetStrings(std::string_view key) const = 0;
  virtual absl::StatusOr<std::vector<int64_t>> GetInts(std::string_view key) const = 0;
  virtual absl::StatusOr<std::vector<float>> GetFloats(std::string_view key) const = 0;

  virtual const TensorInfo* FindTensor(std::string_view name) const = 0;  // nullptr if absent
  virtual std::span<const TensorInfo> tensors() const = 0;
  virtual const std::string& path() const = 0;
  virtual uint64_t file_size() const = 0;
};

// Bytes of `count` elements (a multiple of the block length) and the block length of a type.
size_t TypeBytes(TensorType type, uint64_t count);
int TypeBlock(TensorType type);
std::string_view TypeName(TensorType type);
// The scalar definition of every type: dequantises `count` elements. The oracle of all kernels.
void Dequantize(TensorType type, const std::byte* src, uint64_t count, float* dst);

}  // namespace patella::engine
