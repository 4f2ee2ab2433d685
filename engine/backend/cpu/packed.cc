#include "engine/backend/cpu/packed.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "absl/strings/str_cat.h"

namespace patella::engine::cpu {
namespace {

constexpr size_t kQ4Bytes = 256, kQ8Bytes = 512, kScaleBytes = 64;

float HalfToFloat(uint16_t h) {
  float x;
  Dequantize(TensorType::kF16, reinterpret_cast<const std::byte*>(&h), 1, &x);
  return x;
}

// Exact for what is packed here (−2ⁿ times a half); infinity above the range.
uint16_t FloatToHalf(float x) {
  const auto sign = static_cast<uint16_t>(std::signbit(x) ? 0x8000 : 0);
  const float size = std::fabs(x);
  if (size > 65504) return sign | 0x7c00;
  if (size < 0x1p-14f) return sign | static_cast<uint16_t>(std::nearbyint(size * 0x1p24f));
  return sign | static_cast<uint16_t>((std::bit_cast<uint32_t>(size) >> 13) - (112u << 10));
}

struct Block {
  uint8_t q[kBlock];
  uint16_t d;
  uint16_t m;
};

template <class T>
T ReadAt(const std::byte* p, size_t offset) {
  T value;
  std::memcpy(&value, p + offset, sizeof value);
  return value;
}

// Any integer type → unsigned q with value d·q + m.
Block Unpack(TensorType type, const std::byte* p) {
  Block block;
  block.d = ReadAt<uint16_t>(p, 0);
  const bool has_minimum = type == TensorType::kQ4_1 || type == TensorType::kQ5_1;
  const bool five_bits = type == TensorType::kQ5_0 || type == TensorType::kQ5_1;
  const size_t high_at = has_minimum ? 4 : 2;
  const uint32_t high = five_bits ? ReadAt<uint32_t>(p, high_at) : 0;
  const auto* q = reinterpret_cast<const uint8_t*>(p) + high_at + (five_bits ? 4 : 0);
  int offset = five_bits ? 16 : 8;
  for (int i = 0; i < kBlock; ++i) {
    if (type == TensorType::kQ8_0) {
      block.q[i] = q[i] ^ 0x80;
    } else {
      const int nibble = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
      block.q[i] = static_cast<uint8_t>(nibble | (high >> i & 1) << 4);
    }
  }
  if (type == TensorType::kQ8_0) offset = 128;
  block.m = has_minimum ? ReadAt<uint16_t>(p, 2) : FloatToHalf(-static_cast<float>(offset) * HalfToFloat(block.d));
  return block;
}

bool IsInteger(TensorType type) {
  return type != TensorType::kF32 && type != TensorType::kF16 && type != TensorType::kBF16;
}

// The narrowest layout that holds every tensor.
PanelKind ChooseKind(std::span<const TensorInfo* const> tensors, bool exact) {
  bool four = true, integer = true, sixteen = true;
  for (const TensorInfo* t : tensors) {
    four = four && (t->type == TensorType::kQ4_0 || t->type == TensorType::kQ4_1);
    integer = integer && IsInteger(t->type);
    sixteen = sixteen && (t->type == TensorType::kF16 || t->type == TensorType::kBF16);
  }
  if (exact) return PanelKind::kF32;
  return four ? PanelKind::kQ4 : integer ? PanelKind::kQ8 : sixteen ? PanelKind::kBf16 : PanelKind::kF32;
}

size_t PanelBytes(PanelKind kind, int k) {
  const auto length = static_cast<size_t>(k);
  switch (kind) {
    case PanelKind::kQ4:
      return length / kBlock * (kQ4Bytes + kScaleBytes);
    case PanelKind::kQ8:
      return length / kBlock * (kQ8Bytes + kScaleBytes);
    case PanelKind::kBf16:
      return length * kPanel * 2;
    case PanelKind::kF32:
      break;
  }
  return length * kPanel * 4;
}

void PutBlock(const Block& block, bool is_q4, int n, uint8_t* to) {
  for (int k = 0; k < kBlock; ++k) {
    if (is_q4) {
      uint8_t& pair = to[k / 4 % 4 * 64 + n * 4 + k % 4];
      pair = static_cast<uint8_t>(pair | block.q[k] << (k >= 16 ? 4 : 0));
    } else {
      to[k / 4 * 64 + n * 4 + k % 4] = block.q[k];
    }
  }
  uint8_t* scales = to + (is_q4 ? kQ4Bytes : kQ8Bytes);
  std::memcpy(scales + n * 2, &block.d, 2);
  std::memcpy(scales + 32 + n * 2, &block.m, 2);
}

void PackIntegerRow(const TensorInfo& t, const std::byte* row, int k, bool is_q4, int n, std::byte* panel) {
  const size_t from = TypeBytes(t.type, kBlock), to = (is_q4 ? kQ4Bytes : kQ8Bytes) + kScaleBytes;
  for (int b = 0; b < k / kBlock; ++b) {
    const auto at = static_cast<size_t>(b);
    PutBlock(Unpack(t.type, row + at * from), is_q4, n, reinterpret_cast<uint8_t*>(panel) + at * to);
  }
}

uint16_t ToBf16(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void PackFloatRow(const float* row, int k, PanelKind kind, int n, std::byte* panel) {
  for (int i = 0; i < k; ++i) {
    if (kind == PanelKind::kF32) {
      reinterpret_cast<float*>(panel)[i * kPanel + n] = row[i];
    } else {
      reinterpret_cast<uint16_t*>(panel)[(i / 2 * kPanel + n) * 2 + i % 2] = ToBf16(row[i]);
    }
  }
}

}  // namespace

void FreeAligned::operator()(void* p) const { std::free(p); }

AlignedBytes AllocateAligned(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;
  const size_t alignment = bytes >= kHuge ? kHuge : 64;
  const size_t size = std::max<size_t>((bytes + alignment - 1) / alignment * alignment, alignment);
  void* p = std::aligned_alloc(alignment, size);
  if (p == nullptr) throw std::bad_alloc();
  if (alignment == kHuge) madvise(p, size, MADV_HUGEPAGE);
  std::memset(p, 0, size);
  return AlignedBytes(static_cast<std::byte*>(p));
}

absl::StatusOr<PackedMatrix> PackedMatrix::Pack(std::span<const TensorInfo* const> tensors, bool exact) {
  PackedMatrix packed;
  packed.kind_ = ChooseKind(tensors, exact);
  packed.k_ = static_cast<int>(tensors.front()->dims[0]);
  for (const TensorInfo* t : tensors) {
    if (t->dims.size() != 2 || static_cast<int>(t->dims[0]) != packed.k_) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", t->name, ": its shape contradicts its neighbours'"));
    }
    packed.rows_ += static_cast<int>(t->dims[1]);
  }
  if (packed.k_ % kBlock != 0) {
    return absl::UnimplementedError(absl::StrCat("tensor ", tensors.front()->name, ": rows of ", packed.k_,
                                                 " values; only multiples of ", kBlock, " are supported"));
  }
  packed.panel_bytes_ = PanelBytes(packed.kind_, packed.k_);
  packed.data_ = AllocateAligned(packed.bytes());
  std::vector<float> values(static_cast<size_t>(packed.k_));
  int at = 0;
  for (const TensorInfo* t : tensors) {
    const size_t row_bytes = TypeBytes(t->type, t->dims[0]);
    for (uint64_t row = 0; row < t->dims[1]; ++row, ++at) {
      std::byte* panel = packed.data_.get() + static_cast<size_t>(at / kPanel) * packed.panel_bytes_;
      const std::byte* from = t->data.data() + row * row_bytes;
      if (packed.is_integer()) {
        PackIntegerRow(*t, from, packed.k_, packed.kind_ == PanelKind::kQ4, at % kPanel, panel);
      } else {
        Dequantize(t->type, from, t->dims[0], values.data());
        PackFloatRow(values.data(), packed.k_, packed.kind_, at % kPanel, panel);
      }
    }
  }
  return packed;
}

void PackedMatrix::Gather(int row, float* out) const {
  const std::byte* panel = data_.get() + static_cast<size_t>(row / kPanel) * panel_bytes_;
  const int n = row % kPanel;
  if (kind_ == PanelKind::kF32) {
    for (int i = 0; i < k_; ++i) out[i] = reinterpret_cast<const float*>(panel)[i * kPanel + n];
    return;
  }
  if (kind_ == PanelKind::kBf16) {
    const auto* p = reinterpret_cast<const uint16_t*>(panel);
    for (int i = 0; i < k_; ++i) out[i] = std::bit_cast<float>(uint32_t{p[(i / 2 * kPanel + n) * 2 + i % 2]} << 16);
    return;
  }
  const bool is_q4 = kind_ == PanelKind::kQ4;
  const size_t q_bytes = is_q4 ? kQ4Bytes : kQ8Bytes;
  for (int b = 0; b < k_ / kBlock; ++b, panel += q_bytes + kScaleBytes, out += kBlock) {
    const float d = HalfToFloat(ReadAt<uint16_t>(panel, q_bytes + static_cast<size_t>(n) * 2));
    const float m = HalfToFloat(ReadAt<uint16_t>(panel, q_bytes + 32 + static_cast<size_t>(n) * 2));
    const auto* q = reinterpret_cast<const uint8_t*>(panel);
    for (int k = 0; k < kBlock; ++k) {
      const int value =
          is_q4 ? q[k / 4 % 4 * 64 + n * 4 + k % 4] >> (k >= 16 ? 4 : 0) & 15 : q[k / 4 * 64 + n * 4 + k % 4];
      out[k] = d * static_cast<float>(value) + m;
    }
  }
}

}  // namespace patella::engine::cpu
