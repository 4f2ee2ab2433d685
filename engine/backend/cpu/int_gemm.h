// The block-32 integer GEMM tile: R rows of activations × one panel of 16 rows of W, for each instruction set.
//
//   y[r, n] = Σ_blocks d_w[n]·d_a[r]·Σ q_w[n]·q_a[r] + m_w[n]·(d_a[r]·Σ q_a[r])
//
// Panel block, q4: 4 × 64 B, byte (g, n, i) holds q_w of k = 4g + i in its low and k = 4g + 16 + i in its high nibble;
// q8: 8 × 64 B, byte (g, n, i) is k = 4g + i. Then 16 fp16 scales d_w and 16 fp16 minima m_w. 320 or 576 bytes: decode moves
// each once, from memory; prefill reads a panel from L1 and is bound by the dot-product instruction.
// Measured by tests/bench (patella-engine-bench). Included only by ops_*.cc, after simd16.h.
#pragma once

namespace {

constexpr int kQ4Bytes = 256, kQ8Bytes = 512, kScaleBytes = 64;

// Points at the rows of one tile.
struct IntRows {
  const int8_t* q;
  const float* scale;
  const float* scaled_sum;
  int k;
};

#if defined(__AVX512VNNI__)

constexpr int kMaxIntRows = 12;  // 12 float and 12 integer accumulators in 32 registers

// GCC 12 spills arrays of accumulators around the intrinsic; the operand constraints of an asm statement stop it.
PATELLA_INLINE void DotBroadcast(__m512i* sum, __m512i weights, const int8_t* four) {
  typedef int32_t __attribute__((may_alias)) Word;
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(weights), "m"(*reinterpret_cast<const Word*>(four)));
}

template <int R, bool kIsQ4>
PATELLA_INLINE void IntTile(const uint8_t* panel, const IntRows& rows, V16* out) {
  const int blocks = rows.k / 32;
  const __m512i nibble = _mm512_set1_epi8(15);
  __m512 y[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) y[r] = _mm512_setzero_ps();
  for (int b = 0; b < blocks; ++b) {
    const int8_t* a = rows.q + b * 32;
    __m512i sum[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) sum[r] = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) {
      __m512i w;
      if constexpr (kIsQ4) {
        w = _mm512_loadu_si512(panel + (g & 3) * 64);
        w = _mm512_and_si512(g < 4 ? w : _mm512_srli_epi16(w, 4), nibble);
      } else {
        w = _mm512_loadu_si512(panel + g * 64);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) DotBroadcast(&sum[r], w, a + static_cast<ptrdiff_t>(r) * rows.k + g * 4);
    }
    panel += kIsQ4 ? kQ4Bytes : kQ8Bytes;
    const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel)));
    const __m512 m = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(panel + 32)));
    panel += kScaleBytes;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m512 da = _mm512_mul_ps(d, _mm512_set1_ps(rows.scale[r * blocks + b]));
      y[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r]), da, y[r]);
      y[r] = _mm512_fmadd_ps(m, _mm512_set1_ps(rows.scaled_sum[r * blocks + b]), y[r]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) out[r].v = y[r];
}

#elif defined(__AVX2__)

constexpr int kMaxIntRows = 2;

// Eight groups of nibble × int8 pairs fit 16 bits: 8·2·15·127 = 30480.
struct NibbleSum {
  __m256i lo, hi;
};
PATELLA_INLINE void AddNibbles(NibbleSum* s, __m256i lo, __m256i hi, __m256i a) {
  s->lo = _mm256_add_epi16(s->lo, _mm256_maddubs_epi16(lo, a));
  s->hi = _mm256_add_epi16(s->hi, _mm256_maddubs_epi16(hi, a));
}
PATELLA_INLINE __m256i Widen(__m256i s) { return _mm256_madd_epi16(s, _mm256_set1_epi16(1)); }

template <int R, bool kIsQ4>
PATELLA_INLINE void IntTile(const uint8_t* panel, const IntRows& rows, V16* out) {
  const int blocks = rows.k / 32;
  const __m256i nibble = _mm256_set1_epi8(15);
  for (int r = 0; r < R; ++r) out[r] = Set1(0);
  for (int b = 0; b < blocks; ++b) {
    NibbleSum low[R], high[R];  // a q8 weight is 16·high + low
    for (int r = 0; r < R; ++r) low[r] = high[r] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int g = 0; g < 8; ++g) {
      const auto* w = reinterpret_cast<const __m256i*>(panel + (kIsQ4 ? (g & 3) : g) * 64);
      const __m256i w0 = _mm256_loadu_si256(w), w1 = _mm256_loadu_si256(w + 1);
      const __m256i l0 = _mm256_and_si256(w0, nibble), l1 = _mm256_and_si256(w1, nibble);
      const __m256i h0 = _mm256_and_si256(_mm256_srli_epi16(w0, 4), nibble);
      const __m256i h1 = _mm256_and_si256(_mm256_srli_epi16(w1, 4), nibble);
      for (int r = 0; r < R; ++r) {
        int32_t four;
        std::memcpy(&four, rows.q + static_cast<ptrdiff_t>(r) * rows.k + b * 32 + g * 4, sizeof four);
        const __m256i a = _mm256_set1_epi32(four);
        if (kIsQ4) {
          AddNibbles(&low[r], g < 4 ? l0 : h0, g < 4 ? l1 : h1, a);
        } else {
          AddNibbles(&low[r], l0, l1, a);
          AddNibbles(&high[r], h0, h1, a);
        }
      }
    }
    panel += kIsQ4 ? kQ4Bytes : kQ8Bytes;
    const V16 d = LoadHalf(reinterpret_cast<const uint16_t*>(panel));
    const V16 m = LoadHalf(reinterpret_cast<const uint16_t*>(panel + 32));
    panel += kScaleBytes;
    for (int r = 0; r < R; ++r) {
      __m256i s0 = Widen(low[r].lo), s1 = Widen(low[r].hi);
      if (!kIsQ4) {
        s0 = _mm256_add_epi32(s0, _mm256_slli_epi32(Widen(high[r].lo), 4));
        s1 = _mm256_add_epi32(s1, _mm256_slli_epi32(Widen(high[r].hi), 4));
      }
      const V16 sum = {_mm256_cvtepi32_ps(s0), _mm256_cvtepi32_ps(s1)};
      out[r] = Fma(sum, Mul(d, Set1(rows.scale[r * blocks + b])), out[r]);
      out[r] = Fma(m, Set1(rows.scaled_sum[r * blocks + b]), out[r]);
    }
  }
}

#else

constexpr int kMaxIntRows = 1;

template <int R, bool kIsQ4>
PATELLA_INLINE void IntTile(const uint8_t* panel, const IntRows& rows, V16* out) {
  static_assert(R == 1);
  out[0] = Set1(0);
  for (int b = 0; b < rows.k / 32; ++b) {
    int32_t sum[16] = {};
    for (int k = 0; k < 32; ++k) {
      const uint8_t* w = panel + (kIsQ4 ? k / 4 % 4 : k / 4) * 64 + k % 4;
      const int32_t a = rows.q[b * 32 + k];
      const int shift = kIsQ4 && k >= 16 ? 4 : 0;
      for (int n = 0; n < 16; ++n) sum[n] += (w[n * 4] >> shift & (kIsQ4 ? 15 : 255)) * a;
    }
    panel += kIsQ4 ? kQ4Bytes : kQ8Bytes;
    const V16 d = LoadHalf(reinterpret_cast<const uint16_t*>(panel));
    const V16 m = LoadHalf(reinterpret_cast<const uint16_t*>(panel + 32));
    panel += kScaleBytes;
    V16 sums;
    for (int n = 0; n < 16; ++n) sums.v[n] = static_cast<float>(sum[n]);
    out[0] = Fma(sums, Mul(d, Set1(rows.scale[b])), out[0]);
    out[0] = Fma(m, Set1(rows.scaled_sum[b]), out[0]);
  }
}

#endif

}  // namespace
