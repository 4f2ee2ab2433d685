#include "engine/formats/gguf_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>

#include "engine/formats/gguf_layout.h"
#include "lib/base/text.h"

namespace patella::engine {
namespace {

template <typename T>
void Append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendString(std::string& out, std::string_view text) {
  Append<uint64_t>(out, text.size());
  out.append(text);
}

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const float magnitude = std::fabs(value);
  if (!(magnitude < 65520.0f)) return static_cast<uint16_t>(sign | (std::isnan(value) ? 0x7e00 : 0x7c00));
  if (magnitude < 0x1p-14f) return static_cast<uint16_t>(sign | static_cast<int>(std::nearbyint(magnitude * 0x1p24f)));
  const uint32_t rounded = (bits & 0x7fffffff) + 0xfff + ((bits >> 13) & 1);  // to nearest, ties to even
  return static_cast<uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

void AppendNibbles(std::string& out, const int (&q)[32], bool with_fifth_bit) {
  if (with_fifth_bit) {
    uint32_t fifth = 0;
    for (int i = 0; i < 32; ++i) fifth |= static_cast<uint32_t>(q[i] >> 4) << i;
    Append(out, fifth);
  }
  for (int i = 0; i < 16; ++i) Append(out, static_cast<uint8_t>((q[i] & 0xf) | (q[i + 16] & 0xf) << 4));
}

// Symmetric (no minimum): q in [0, 2·zero − 1], zero point in the middle, scale from the value largest in magnitude.
void AppendSymmetric(std::string& out, std::span<const float> block, int zero, bool with_fifth_bit) {
  const float extreme =
      *std::max_element(block.begin(), block.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  const float d = extreme / static_cast<float>(-zero);
  int q[32];
  for (int i = 0; i < 32; ++i) {
    const float scaled = d != 0 ? block[i] / d : 0.0f;
    q[i] = std::clamp(static_cast<int>(std::lround(scaled)) + zero, 0, 2 * zero - 1);
  }
  Append(out, FloatToHalf(d));
  AppendNibbles(out, q, with_fifth_bit);
}

void AppendAffine(std::string& out, std::span<const float> block, int levels, bool with_fifth_bit) {
  const auto [low, high] = std::minmax_element(block.begin(), block.end());
  const float d = (*high - *low) / static_cast<float>(levels - 1);
  int q[32];
  for (int i = 0; i < 32; ++i) {
    const float scaled = d != 0 ? (block[i] - *low) / d : 0.0f;
    q[i] = std::clamp(static_cast<int>(std::lround(scaled)), 0, levels - 1);
  }
  Append(out, FloatToHalf(d));
  Append(out, FloatToHalf(*low));
  AppendNibbles(out, q, with_fifth_bit);
}

void AppendBytes(std::string& out, std::span<const float> block) {
  float largest = 0;
  for (float value : block) largest = std::max(largest, std::fabs(value));
  const float d = largest / 127.0f;
  Append(out, FloatToHalf(d));
  for (float value : block) Append(out, static_cast<int8_t>(d != 0 ? std::lround(value / d) : 0));
}

void AppendBlock(std::string& out, TensorType type, std::span<const float> block) {
  switch (type) {
    case TensorType::kF32:
      return Append(out, block[0]);
    case TensorType::kF16:
      return Append(out, FloatToHalf(block[0]));
    case TensorType::kBF16: {
      const uint32_t bits = std::bit_cast<uint32_t>(block[0]);
      return Append(out, static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16));
    }
    case TensorType::kQ4_0:
      return AppendSymmetric(out, block, 8, false);
    case TensorType::kQ4_1:
      return AppendAffine(out, block, 16, false);
    case TensorType::kQ5_0:
      return AppendSymmetric(out, block, 16, true);
    case TensorType::kQ5_1:
      return AppendAffine(out, block, 32, true);
    case TensorType::kQ8_0:
      return AppendBytes(out, block);
  }
}

}  // namespace

std::vector<std::byte> Quantize(TensorType type, std::span<const float> values) {
  std::string out;
  const auto block = static_cast<size_t>(TypeBlock(type));
  for (size_t i = 0; i + block <= values.size(); i += block) AppendBlock(out, type, values.subspan(i, block));
  std::vector<std::byte> bytes(out.size());
  if (!out.empty()) std::memcpy(bytes.data(), out.data(), out.size());
  return bytes;
}

void GgufWriter::BeginValue(std::string_view key, uint32_t type) {
  ++key_count_;
  AppendString(metadata_, key);
  Append(metadata_, type);
}

void GgufWriter::BeginArray(std::string_view key, uint32_t element_type, uint64_t count) {
  BeginValue(key, kGgufArray);
  Append(metadata_, element_type);
  Append(metadata_, count);
}

void GgufWriter::SetString(std::string_view key, std::string_view value) {
  BeginValue(key, kGgufString);
  AppendString(metadata_, value);
}

void GgufWriter::SetUint32(std::string_view key, uint32_t value) {
  BeginValue(key, kGgufUint32);
  Append(metadata_, value);
}

void GgufWriter::SetInt64(std::string_view key, int64_t value) {
  BeginValue(key, kGgufInt64);
  Append(metadata_, value);
}

void GgufWriter::SetFloat(std::string_view key, float value) {
  BeginValue(key, kGgufFloat32);
  Append(metadata_, value);
}

void GgufWriter::SetBool(std::string_view key, bool value) {
  BeginValue(key, kGgufBool);
  Append(metadata_, static_cast<uint8_t>(value));
}

void GgufWriter::SetStrings(std::string_view key, std::span<const std::string> values) {
  BeginArray(key, kGgufString, values.size());
  for (const std::string& value : values) AppendString(metadata_, value);
}

void GgufWriter::SetInts(std::string_view key, std::span<const int32_t> values) {
  BeginArray(key, kGgufInt32, values.size());
  for (int32_t value : values) Append(metadata_, value);
}

void GgufWriter::SetFloats(std::string_view key, std::span<const float> values) {
  BeginArray(key, kGgufFloat32, values.size());
  for (float value : values) Append(metadata_, value);
}

void GgufWriter::AddTensor(std::string_view name, TensorType type, std::vector<uint64_t> dims,
                           std::vector<std::byte> data) {
  tensors_.push_back({std::string(name), static_cast<uint32_t>(type), std::move(dims), std::move(data)});
}

void GgufWriter::AddFloats(std::string_view name, TensorType type, std::vector<uint64_t> dims,
                           std::span<const float> values) {
  AddTensor(name, type, std::move(dims), Quantize(type, values));
}

std::string GgufWriter::Bytes() const {
  std::string out = "GGUF";
  Append<uint32_t>(out, 3);
  Append<uint64_t>(out, tensors_.size());
  Append<uint64_t>(out, key_count_);
  out += metadata_;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    AppendString(out, tensor.name);
    Append(out, static_cast<uint32_t>(tensor.dims.size()));
    for (uint64_t dim : tensor.dims) Append(out, dim);
    Append(out, tensor.type);
    Append(out, offset);
    offset = AlignUp(offset + tensor.data.size(), kGgufDefaultAlignment);
  }
  for (const Tensor& tensor : tensors_) {
    out.resize(AlignUp(out.size(), kGgufDefaultAlignment), '\0');
    out.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  return out;
}

absl::Status GgufWriter::WriteTo(const std::string& path) const {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  const std::string bytes = Bytes();
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) return absl::UnavailableError(StrCat(path, ": cannot be written: check the folder and the free space"));
  return absl::OkStatus();
}

}  // namespace patella::engine
