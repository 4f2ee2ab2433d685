// The arithmetic of the forward pass as one table of functions, chosen once by CPUID. Every table computes the same thing:
// integer dot products are exact, floating-point sums run in the same order, so tables differ by rounding only.
//
// Weights lie in panels of 16 rows of W (= 16 columns of y), see packed.h. Activations are quantised per 32 values to int8
// for the integer panels and stay float for the others. All row lengths are multiples of 16, of 32 for integer panels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace patella::engine::cpu {

inline constexpr int kPanel = 16;  // rows of W a panel; also the tokens of one KV cell
inline constexpr int kBlock = 32;  // values that share a scale

enum class PanelKind { kQ4, kQ8, kBf16, kF32 };

// W: (rows, k). One panel is `panel_bytes` long; panel p holds rows 16p … 16p+15, the missing ones zero.
struct PanelView {
  PanelKind kind;
  int rows;
  int k;
  const std::byte* data;
  size_t panel_bytes;
};

// A batch of rows ready for a GEMM. Integer panels read q, scale and scaled_sum; the others read x.
struct Activations {
  const float* x;           // (m, k)
  const int8_t* q;          // (m, k), −127 … 127
  const float* scale;       // (m, k/32)
  const float* scaled_sum;  // (m, k/32): scale · Σ q of the block, what a weight's minimum is multiplied with
};

// y[m, n] (+)= Σ_k x[m, k]·W[n, k] for `row_count` rows and panels panel_begin … panel_end − 1.
struct GemmTask {
  PanelView w;
  Activations a;
  int row_count;
  int panel_begin;
  int panel_end;
  float* y;  // (row_count, stride)
  int stride;
  bool accumulate;
};

// Causal attention of `tokens` queries of one sequence over one KV head and the `group` query heads that share it.
// A KV cell is 16 tokens of one head in fp16: K transposed (head_dim, 16), then V (16, head_dim).
struct AttendTask {
  const float* q;  // first query head of the group at the first token; heads lie head_dim apart
  int q_stride;    // floats from one token to the next
  int tokens;
  int first_position;
  int group;
  int head_dim;
  float scale;
  const uint16_t* cells;  // of this layer and head 0 of block 0, plus the head's offset
  size_t cell_stride;     // halves from one 16-token cell to the next of the same head
  const int32_t* blocks;
  int cells_per_block;
  float* out;  // like q
  int out_stride;
};

struct Ops {
  const char* name;
  // x: (k) → q, scale, scaled_sum as in Activations.
  void (*quantize)(const float* x, int k, int8_t* q, float* scale, float* scaled_sum);
  void (*gemm)(const GemmTask& task);
  // y = x / sqrt(mean(x²) + epsilon) · weight. y may be x.
  void (*rms_norm)(const float* x, const float* weight, int n, float epsilon, float* y);
  // In place on `heads` heads. cosine, sine: (head_dim/2). Pairs are (2i, 2i+1), or (i, i + head_dim/2) if half_split.
  void (*rope)(float* x, int heads, int head_dim, const float* cosine, const float* sine, bool half_split);
  // y = gate · sigmoid(gate) · up. y may be gate.
  void (*swiglu)(const float* gate, const float* up, int n, float* y);
  // y += x.
  void (*add)(const float* x, int n, float* y);
  // k, v: (head_dim) of one token → slot 0 … 15 of a cell, as fp16.
  void (*store_kv)(const float* k, const float* v, int head_dim, int slot, uint16_t* cell);
  void (*attend)(const AttendTask& task);
};

inline constexpr int kMaxHeadDim = 256;

// The tables that this CPU can run, slowest (portable) first.
std::span<const Ops* const> SupportedOps();
inline const Ops& BestOps() { return *SupportedOps().back(); }

}  // namespace patella::engine::cpu
