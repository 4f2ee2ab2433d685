// Weights in the layout that the GEMM reads: panels of 16 rows of W.
//
//   kQ4, kQ8   see int_gemm.h; Q4_0, Q4_1 → kQ4; Q5_0, Q5_1, Q8_0 → kQ8, all without loss (q unsigned, value d·q + m, fp16 d, m)
//   kBf16      (k/2, 16, 2) bf16: F16, BF16. F16 loses 3 bits of mantissa
//   kF32       (k, 16) float: F32, and any type where `exact` is asked for
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "engine/backend/cpu/ops.h"
#include "engine/formats/gguf.h"

namespace patella::engine::cpu {

struct FreeAligned {
  void operator()(void* p) const;
};
using AlignedBytes = std::unique_ptr<std::byte[], FreeAligned>;
// Zeroed, on a 64-byte boundary (2 MiB if large, with huge pages asked for).
AlignedBytes AllocateAligned(size_t bytes);

class PackedMatrix {
 public:
  // Rows of all tensors one after another; their K must agree. Tensors of different types share the widest layout.
  // Unimplemented for a row length that is not a multiple of 32.
  static absl::StatusOr<PackedMatrix> Pack(std::span<const TensorInfo* const> tensors, bool exact);

  PanelView view() const { return {kind_, rows_, k_, data_.get(), panel_bytes_}; }
  int rows() const { return rows_; }
  int k() const { return k_; }
  size_t bytes() const { return panel_bytes_ * static_cast<size_t>((rows_ + kPanel - 1) / kPanel); }
  bool is_integer() const { return kind_ == PanelKind::kQ4 || kind_ == PanelKind::kQ8; }
  // W[row, :] as float, for embeddings.
  void Gather(int row, float* out) const;

 private:
  PanelKind kind_ = PanelKind::kF32;
  int rows_ = 0;
  int k_ = 0;
  size_t panel_bytes_ = 0;
  AlignedBytes data_;
};

}  // namespace patella::engine::cpu
