// Block layouts of the tensor types, and the scalar definition of what each block means.
//
//   Q4_0  f16 d            16 B nibbles        x = d·(q − 8)
//   Q4_1  f16 d, f16 m     16 B nibbles        x = d·q + m
//   Q5_0  f16 d            u32 fifth bits, 16 B nibbles   x = d·(q − 16)
//   Q5_1  f16 d, f16 m     u32 fifth bits, 16 B nibbles   x = d·q + m
//   Q8_0  f16 d            32 × i8             x = d·q
// Low nibbles are elements 0..15 of a block of 32, high nibbles elements 16..31.
#include <bit>
#include <cstring>

#include "engine/formats/gguf.h"

namespace patella::engine {
namespace {

template <typename T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {  // zero and subnormals: mantissa · 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t widened = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | widened << 23 | mantissa << 13);
}

float LoadHalf(const std::byte* from) { return HalfToFloat(Load<uint16_t>(from)); }

struct Layout {
  int block;         // elements
  size_t bytes;      // of one block
  size_t minimum;    // offset of f16 m, 0 if the type has none
  size_t fifth_bit;  // offset of the u32 of fifth bits, 0 if none
  size_t quants;     // offset of the nibbles or bytes
  int zero_point;    // subtracted from q
};

Layout LayoutOf(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return {1, 4, 0, 0, 0, 0};
    case TensorType::kF16:
      return {1, 2, 0, 0, 0, 0};
    case TensorType::kBF16:
      return {1, 2, 0, 0, 0, 0};
    case TensorType::kQ4_0:
      return {32, 18, 0, 0, 2, 8};
    case TensorType::kQ4_1:
      return {32, 20, 2, 0, 4, 0};
    case TensorType::kQ5_0:
      return {32, 22, 0, 2, 6, 16};
    case TensorType::kQ5_1:
      return {32, 24, 2, 4, 8, 0};
    case TensorType::kQ8_0:
      return {32, 34, 0, 0, 2, 0};
  }
  return {1, 0, 0, 0, 0, 0};
}

void DequantizeBlock(TensorType type, const Layout& layout, const std::byte* src, float* dst) {
  const float d = LoadHalf(src);
  if (type == TensorType::kQ8_0) {
    for (int i = 0; i < 32; ++i) dst[i] = d * static_cast<float>(Load<int8_t>(src + layout.quants + i));
    return;
  }
  const float m = layout.minimum != 0 ? LoadHalf(src + layout.minimum) : 0.0f;
  const uint32_t fifth = layout.fifth_bit != 0 ? Load<uint32_t>(src + layout.fifth_bit) : 0;
  for (int i = 0; i < 32; ++i) {
    const auto packed = static_cast<uint8_t>(src[layout.quants + i % 16]);
    const int nibble = i < 16 ? packed & 0xf : packed >> 4;
    const int q = nibble | static_cast<int>((fifth >> i) & 1) << 4;
    dst[i] = d * static_cast<float>(q - layout.zero_point) + m;
  }
}

}  // namespace

int TypeBlock(TensorType type) { return LayoutOf(type).block; }

size_t TypeBytes(TensorType type, uint64_t count) {
  const Layout layout = LayoutOf(type);
  return count / static_cast<uint64_t>(layout.block) * layout.bytes;
}

std::string_view TypeName(TensorType type) {
  switch (type) {
    case TensorType::kF32:
      return "F32";
    case TensorType::kF16:
      return "F16";
    case TensorType::kBF16:
      return "BF16";
    case TensorType::kQ4_0:
      return "Q4_0";
    case TensorType::kQ4_1:
      return "Q4_1";
    case TensorType::kQ5_0:
      return "Q5_0";
    case TensorType::kQ5_1:
      return "Q5_1";
    case TensorType::kQ8_0:
      return "Q8_0";
  }
  return "unknown";
}

void Dequantize(TensorType type, const std::byte* src, uint64_t count, float* dst) {
  switch (type) {
    case TensorType::kF32:
      if (count != 0) std::memcpy(dst, src, count * sizeof(float));
      return;
    case TensorType::kF16:
      for (uint64_t i = 0; i < count; ++i) dst[i] = LoadHalf(src + 2 * i);
      return;
    case TensorType::kBF16:
      for (uint64_t i = 0; i < count; ++i) {
        dst[i] = std::bit_cast<float>(static_cast<uint32_t>(Load<uint16_t>(src + 2 * i)) << 16);
      }
      return;
    default:
      break;
  }
  const Layout layout = LayoutOf(type);
  for (uint64_t i = 0; i < count; i += 32) DequantizeBlock(type, layout, src + i / 32 * layout.bytes, dst + i);
}

}  // namespace patella::engine
