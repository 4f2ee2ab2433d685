// The body of one Ops table, written once over simd16.h and compiled once for each instruction set: ops_portable.cc,
// ops_avx2.cc and ops_avx512.cc define PATELLA_OPS_NAME and PATELLA_OPS_TABLE and include it. No standard templates here:
// their instances would be shared with code that must run on every CPU.
#include "engine/backend/cpu/ops.h"
#include "engine/backend/cpu/simd16.h"
// after simd16.h
#include "engine/backend/cpu/int_gemm.h"

namespace patella::engine::cpu {
namespace {

void Quantize(const float* x, int k, int8_t* q, float* scale, float* scaled_sum) {
  for (int b = 0; b < k / kBlock; ++b, x += kBlock, q += kBlock) {
    const V16 lo = Load(x), hi = Load(x + 16);
    const float most = ReduceMax(Max(Abs(lo), Abs(hi)));
    const float d = most / 127;
    const V16 inverse = Set1(d > 0 ? 1 / d : 0);
    const V16 qlo = Round(Mul(lo, inverse)), qhi = Round(Mul(hi, inverse));
    StoreInt8(q, qlo);
    StoreInt8(q + 16, qhi);
    scale[b] = d;
    scaled_sum[b] = d * ReduceAdd(Add(qlo, qhi));
  }
}

// A tile of y: `count` of the panel's 16 columns exist.
PATELLA_INLINE void WriteTile(V16 value, float* y, int count, bool accumulate) {
  if (count == kPanel) {
    Store(y, accumulate ? Add(Load(y), value) : value);
    return;
  }
  float lanes[kPanel];
  Store(lanes, value);
  for (int n = 0; n < count; ++n) y[n] = accumulate ? y[n] + lanes[n] : lanes[n];
}

template <int R>
PATELLA_INLINE void FloatTile(const PanelView& w, const std::byte* panel, const float* x, V16* out) {
  for (int r = 0; r < R; ++r) out[r] = Set1(0);
  if (w.kind == PanelKind::kF32) {
    const auto* p = reinterpret_cast<const float*>(panel);
    for (int k = 0; k < w.k; ++k) {
      const V16 weights = Load(p + k * kPanel);
      for (int r = 0; r < R; ++r) out[r] = Fma(Set1(x[static_cast<ptrdiff_t>(r) * w.k + k]), weights, out[r]);
    }
    return;
  }
  const auto* p = reinterpret_cast<const uint16_t*>(panel);
  for (int k = 0; k < w.k; k += 2) {
    V16 even, odd;
    LoadBf16Pairs(p + k * kPanel, &even, &odd);
    for (int r = 0; r < R; ++r) {
      const float* row = x + static_cast<ptrdiff_t>(r) * w.k;
      out[r] = Fma(Set1(row[k]), even, out[r]);
      out[r] = Fma(Set1(row[k + 1]), odd, out[r]);
    }
  }
}

template <int R>
void Tile(const GemmTask& t, int panel, int row) {
  const std::byte* w = t.w.data + static_cast<size_t>(panel) * t.w.panel_bytes;
  const ptrdiff_t offset = static_cast<ptrdiff_t>(row) * t.w.k;
  V16 out[R];
  if (t.w.kind == PanelKind::kQ4 || t.w.kind == PanelKind::kQ8) {
    const ptrdiff_t block = offset / kBlock;
    const IntRows rows = {t.a.q + offset, t.a.scale + block, t.a.scaled_sum + block, t.w.k};
    const auto* bytes = reinterpret_cast<const uint8_t*>(w);
    if (t.w.kind == PanelKind::kQ4) {
      IntTile<R, true>(bytes, rows, out);
    } else {
      IntTile<R, false>(bytes, rows, out);
    }
  } else {
    FloatTile<R>(t.w, w, t.a.x + offset, out);
  }
  const int left = t.w.rows - panel * kPanel;
  for (int r = 0; r < R; ++r) {
    float* y = t.y + static_cast<ptrdiff_t>(row + r) * t.stride + panel * kPanel;
    WriteTile(out[r], y, left < kPanel ? left : kPanel, t.accumulate);
  }
}

// The largest tile first: a panel stays in L1 while all rows pass over it.
template <int R>
PATELLA_INLINE int Tiles(const GemmTask& t, int panel, int row) {
  if constexpr (R <= kMaxIntRows) {
    for (; row + R <= t.row_count; row += R) Tile<R>(t, panel, row);
  }
  return row;
}

void Gemm(const GemmTask& t) {
  for (int panel = t.panel_begin; panel < t.panel_end; ++panel) {
    int row = Tiles<12>(t, panel, 0);
    row = Tiles<8>(t, panel, row);
    row = Tiles<6>(t, panel, row);
    row = Tiles<4>(t, panel, row);
    row = Tiles<3>(t, panel, row);
    row = Tiles<2>(t, panel, row);
    Tiles<1>(t, panel, row);
  }
}

void RmsNorm(const float* x, const float* weight, int n, float epsilon, float* y) {
  V16 squares = Set1(0);
  for (int i = 0; i < n; i += 16) squares = Fma(Load(x + i), Load(x + i), squares);
  const V16 scale = Set1(1 / std::sqrt(ReduceAdd(squares) / static_cast<float>(n) + epsilon));
  for (int i = 0; i < n; i += 16) Store(y + i, Mul(Mul(Load(x + i), scale), Load(weight + i)));
}

void Rope(float* x, int heads, int head_dim, const float* cosine, const float* sine, bool half_split) {
  const int half = head_dim / 2;
  const int step = half_split ? 1 : 2, apart = half_split ? half : 1;
  for (int h = 0; h < heads; ++h, x += head_dim) {
    for (int i = 0; i < half; ++i) {
      const float a = x[i * step], b = x[i * step + apart];
      x[i * step] = a * cosine[i] - b * sine[i];
      x[i * step + apart] = a * sine[i] + b * cosine[i];
    }
  }
}

void SwiGlu(const float* gate, const float* up, int n, float* y) {
  for (int i = 0; i < n; i += 16) {
    const V16 g = Load(gate + i);
    const V16 sigmoid = Div(Set1(1), Add(Set1(1), Exp(Sub(Set1(0), g))));
    Store(y + i, Mul(Mul(g, sigmoid), Load(up + i)));
  }
}

void AddRow(const float* x, int n, float* y) {
  for (int i = 0; i < n; i += 16) Store(y + i, Add(Load(y + i), Load(x + i)));
}

void StoreKv(const float* k, const float* v, int head_dim, int slot, uint16_t* cell) {
  constexpr float kMost = 65504;  // fp16's largest: infinity would poison every later token
  const V16 most = Set1(kMost), zero = Set1(0);
  uint16_t half[16];
  uint16_t* values = cell + head_dim * kPanel + slot * head_dim;
  for (int d = 0; d < head_dim; d += 16) {
    const V16 floor_k = Max(Load(k + d), Set1(-kMost)), floor_v = Max(Load(v + d), Set1(-kMost));
    StoreHalf(half, Sub(zero, Max(Sub(zero, floor_k), Sub(zero, most))));
    for (int i = 0; i < 16; ++i) cell[(d + i) * kPanel + slot] = half[i];
    StoreHalf(values + d, Sub(zero, Max(Sub(zero, floor_v), Sub(zero, most))));
  }
}

// Online softmax over the cells for R (token, head) rows, row-major in tokens, from `row` on.
template <int R>
void AttendRows(const AttendTask& t, int row) {
  const int dim = t.head_dim;
  alignas(64) float q[R][kMaxHeadDim], out[R][kMaxHeadDim], p[R][kPanel];
  float most[R], total[R];
  int limit[R];  // tokens that the row may see
  for (int r = 0; r < R; ++r) {
    const int token = (row + r) / t.group, head = (row + r) % t.group;
    const float* from = t.q + static_cast<ptrdiff_t>(token) * t.q_stride + head * dim;
    for (int d = 0; d < dim; d += 16) {
      Store(q[r] + d, Mul(Load(from + d), Set1(t.scale)));
      Store(out[r] + d, Set1(0));
    }
    most[r] = -INFINITY;
    total[r] = 0;
    limit[r] = t.first_position + token + 1;
  }
  const int last = limit[R - 1];
  for (int begin = 0; begin < last; begin += kPanel) {
    const int c = begin / kPanel;
    const ptrdiff_t cell =
        static_cast<ptrdiff_t>(t.blocks[c / t.cells_per_block]) * t.cells_per_block + c % t.cells_per_block;
    const uint16_t* keys = t.cells + cell * static_cast<ptrdiff_t>(t.cell_stride);
    const uint16_t* values = keys + dim * kPanel;
    const int count = last - begin < kPanel ? last - begin : kPanel;
    V16 s[R];
    for (int r = 0; r < R; ++r) s[r] = Set1(0);
    for (int d = 0; d < dim; ++d) {
      const V16 k = LoadHalf(keys + d * kPanel);
      for (int r = 0; r < R; ++r) s[r] = Fma(Set1(q[r][d]), k, s[r]);
    }
    float shrink[R];
    for (int r = 0; r < R; ++r) {
      const int seen = limit[r] - begin;  // may be ≤ 0 in the last cell, for the earlier tokens of the tile
      if (seen <= 0) {
        shrink[r] = 1;
        Store(p[r], Set1(0));
        continue;
      }
      const V16 score = KeepFirst(s[r], seen);
      const float peak = ReduceMax(score);
      const float next = peak > most[r] ? peak : most[r];
      shrink[r] = next == most[r] ? 1 : std::exp(most[r] - next);
      most[r] = next;
      Store(p[r], Exp(Sub(score, Set1(next))));
      for (int i = seen; i < kPanel; ++i) p[r][i] = 0;
      total[r] = total[r] * shrink[r] + ReduceAdd(Load(p[r]));
    }
    for (int d = 0; d < dim; d += 16) {
      V16 sum[R];
      for (int r = 0; r < R; ++r) sum[r] = Mul(Load(out[r] + d), Set1(shrink[r]));
      for (int i = 0; i < count; ++i) {
        const V16 v = LoadHalf(values + i * dim + d);
        for (int r = 0; r < R; ++r) sum[r] = Fma(Set1(p[r][i]), v, sum[r]);
      }
      for (int r = 0; r < R; ++r) Store(out[r] + d, sum[r]);
    }
  }
  for (int r = 0; r < R; ++r) {
    float* to = t.out + static_cast<ptrdiff_t>((row + r) / t.group) * t.out_stride + (row + r) % t.group * dim;
    for (int d = 0; d < dim; d += 16) Store(to + d, Mul(Load(out[r] + d), Set1(1 / total[r])));
  }
}

template <int R>
PATELLA_INLINE int AttendTiles(const AttendTask& t, int row) {
  for (; row + R <= t.tokens * t.group; row += R) AttendRows<R>(t, row);
  return row;
}

void Attend(const AttendTask& t) {
  int row = AttendTiles<12>(t, 0);
  row = AttendTiles<6>(t, row);
  row = AttendTiles<4>(t, row);
  row = AttendTiles<3>(t, row);
  row = AttendTiles<2>(t, row);
  AttendTiles<1>(t, row);
}

}  // namespace

extern const Ops PATELLA_OPS_TABLE;
const Ops PATELLA_OPS_TABLE = {PATELLA_OPS_NAME, Quantize, Gemm, RmsNorm, Rope, SwiGlu, AddRow, StoreKv, Attend};

}  // namespace patella::engine::cpu
