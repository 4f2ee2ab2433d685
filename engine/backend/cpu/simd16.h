// Sixteen floats, whatever the registers are: one zmm, two ymm, or an array. Included only by ops_*.cc, each compiled for
// one instruction set; all names are local to that file, so that no wide instruction leaks into code that others link.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {  // NOLINT: see above

#define PATELLA_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)

struct V16 {
  __m512 v;
};
PATELLA_INLINE V16 Load(const float* p) { return {_mm512_loadu_ps(p)}; }
PATELLA_INLINE void Store(float* p, V16 a) { _mm512_storeu_ps(p, a.v); }
PATELLA_INLINE V16 Set1(float x) { return {_mm512_set1_ps(x)}; }
PATELLA_INLINE V16 Add(V16 a, V16 b) { return {a.v + b.v}; }
PATELLA_INLINE V16 Sub(V16 a, V16 b) { return {a.v - b.v}; }
PATELLA_INLINE V16 Mul(V16 a, V16 b) { return {a.v * b.v}; }
PATELLA_INLINE V16 Div(V16 a, V16 b) { return {a.v / b.v}; }
PATELLA_INLINE V16 Max(V16 a, V16 b) { return {_mm512_max_ps(a.v, b.v)}; }
PATELLA_INLINE V16 Fma(V16 a, V16 b, V16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
PATELLA_INLINE V16 Abs(V16 a) { return {_mm512_abs_ps(a.v)}; }
PATELLA_INLINE float ReduceAdd(V16 a) { return _mm512_reduce_add_ps(a.v); }
PATELLA_INLINE float ReduceMax(V16 a) { return _mm512_reduce_max_ps(a.v); }
PATELLA_INLINE V16 LoadHalf(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
PATELLA_INLINE void StoreHalf(uint16_t* p, V16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
// Lanes ≥ count become −infinity.
PATELLA_INLINE V16 KeepFirst(V16 a, int count) {
  const auto mask = static_cast<__mmask16>(count >= 16 ? 0xffff : (1 << count) - 1);
  return {_mm512_mask_blend_ps(mask, _mm512_set1_ps(-INFINITY), a.v)};
}
// 16 pairs of bf16: the first of each (even) and the second (odd).
PATELLA_INLINE void LoadBf16Pairs(const uint16_t* p, V16* even, V16* odd) {
  const __m512i w = _mm512_loadu_si512(p);
  even->v = _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
  odd->v = _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32(static_cast<int>(0xffff0000u))));
}
PATELLA_INLINE V16 Round(V16 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
PATELLA_INLINE V16 ScaleByPow2(V16 a, V16 n) { return {_mm512_scalef_ps(a.v, n.v)}; }
// Whole numbers −127 … 127 as int8.
PATELLA_INLINE void StoreInt8(int8_t* p, V16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a.v)));
}

#elif defined(__AVX2__)

struct V16 {
  __m256 lo, hi;
};
PATELLA_INLINE V16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
PATELLA_INLINE void Store(float* p, V16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
PATELLA_INLINE V16 Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
PATELLA_INLINE V16 Add(V16 a, V16 b) { return {a.lo + b.lo, a.hi + b.hi}; }
PATELLA_INLINE V16 Sub(V16 a, V16 b) { return {a.lo - b.lo, a.hi - b.hi}; }
PATELLA_INLINE V16 Mul(V16 a, V16 b) { return {a.lo * b.lo, a.hi * b.hi}; }
PATELLA_INLINE V16 Div(V16 a, V16 b) { return {a.lo / b.lo, a.hi / b.hi}; }
PATELLA_INLINE V16 Max(V16 a, V16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
PATELLA_INLINE V16 Fma(V16 a, V16 b, V16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
PATELLA_INLINE V16 Abs(V16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
PATELLA_INLINE float ReduceAdd(V16 a) {
  const __m256 s = a.lo + a.hi;
  __m128 t = _mm256_castps256_ps128(s) + _mm256_extractf128_ps(s, 1);
  t = t + _mm_movehl_ps(t, t);
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
PATELLA_INLINE float ReduceMax(V16 a) {
  const __m256 s = _mm256_max_ps(a.lo, a.hi);
  __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  t = _mm_max_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}
PATELLA_INLINE V16 LoadHalf(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
          _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))};
}
PATELLA_INLINE void StoreHalf(uint16_t* p, V16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
}
PATELLA_INLINE V16 KeepFirst(V16 a, int count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256 none = _mm256_set1_ps(-INFINITY);
  const __m256i lo = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes);
  const __m256i hi = _mm256_cmpgt_epi32(_mm256_set1_epi32(count - 8), lanes);
  return {_mm256_blendv_ps(none, a.lo, _mm256_castsi256_ps(lo)), _mm256_blendv_ps(none, a.hi, _mm256_castsi256_ps(hi))};
}
PATELLA_INLINE void LoadBf16Pairs(const uint16_t* p, V16* even, V16* odd) {
  const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16));
  const __m256i top = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  *even = {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
  *odd = {_mm256_castsi256_ps(_mm256_and_si256(a, top)), _mm256_castsi256_ps(_mm256_and_si256(b, top))};
}
PATELLA_INLINE V16 Round(V16 a) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(a.lo, kNearest), _mm256_round_ps(a.hi, kNearest)};
}
PATELLA_INLINE __m256 Pow2(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
PATELLA_INLINE V16 ScaleByPow2(V16 a, V16 n) { return {a.lo * Pow2(n.lo), a.hi * Pow2(n.hi)}; }
PATELLA_INLINE void StoreInt8(int8_t* p, V16 a) {
  __m256i w = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
  w = _mm256_permute4x64_epi64(w, 0xd8);
  const __m128i b = _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), b);
}

#else

struct V16 {
  float v[16];
};
#define PATELLA_LANES(expression)                   \
  V16 r;                                            \
  for (int i = 0; i < 16; ++i) r.v[i] = expression; \
  return r
PATELLA_INLINE V16 Load(const float* p) { PATELLA_LANES(p[i]); }
PATELLA_INLINE void Store(float* p, V16 a) { std::memcpy(p, a.v, sizeof a.v); }
PATELLA_INLINE V16 Set1(float x) { PATELLA_LANES(x); }
PATELLA_INLINE V16 Add(V16 a, V16 b) { PATELLA_LANES(a.v[i] + b.v[i]); }
PATELLA_INLINE V16 Sub(V16 a, V16 b) { PATELLA_LANES(a.v[i] - b.v[i]); }
PATELLA_INLINE V16 Mul(V16 a, V16 b) { PATELLA_LANES(a.v[i] * b.v[i]); }
PATELLA_INLINE V16 Div(V16 a, V16 b) { PATELLA_LANES(a.v[i] / b.v[i]); }
PATELLA_INLINE V16 Max(V16 a, V16 b) { PATELLA_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
PATELLA_INLINE V16 Fma(V16 a, V16 b, V16 c) { PATELLA_LANES(a.v[i] * b.v[i] + c.v[i]); }
PATELLA_INLINE V16 Abs(V16 a) { PATELLA_LANES(std::fabs(a.v[i])); }
PATELLA_INLINE float ReduceAdd(V16 a) {
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) a.v[i] += a.v[i + width];
  }
  return a.v[0];
}
PATELLA_INLINE float ReduceMax(V16 a) {
  float most = a.v[0];
  for (int i = 1; i < 16; ++i) most = a.v[i] > most ? a.v[i] : most;
  return most;
}
PATELLA_INLINE float FromBits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
PATELLA_INLINE float HalfToFloat(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t rest = h & 0x7fff;
  if (rest >= 0x7c00) return FromBits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  if (rest >= 0x0400) return FromBits(sign | ((rest << 13) + (112u << 23)));
  const float tiny = static_cast<float>(rest) * 0x1p-24f;
  return sign != 0 ? -tiny : tiny;
}
PATELLA_INLINE uint16_t FloatToHalf(float x) {  // nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return sign | 0x7e00;
  if (bits >= 0x477ff000) return sign | 0x7c00;
  if (bits < 0x38800000) return sign | static_cast<uint16_t>(std::nearbyintf(FromBits(bits) * 0x1p24f));
  bits += 0xfff + (bits >> 13 & 1);
  return sign | static_cast<uint16_t>((bits - (112u << 23)) >> 13);
}
PATELLA_INLINE V16 LoadHalf(const uint16_t* p) { PATELLA_LANES(HalfToFloat(p[i])); }
PATELLA_INLINE void StoreHalf(uint16_t* p, V16 a) {
  for (int i = 0; i < 16; ++i) p[i] = FloatToHalf(a.v[i]);
}
PATELLA_INLINE V16 KeepFirst(V16 a, int count) { PATELLA_LANES(i < count ? a.v[i] : -INFINITY); }
PATELLA_INLINE void LoadBf16Pairs(const uint16_t* p, V16* even, V16* odd) {
  for (int i = 0; i < 16; ++i) {
    even->v[i] = FromBits(static_cast<uint32_t>(p[2 * i]) << 16);
    odd->v[i] = FromBits(static_cast<uint32_t>(p[2 * i + 1]) << 16);
  }
}
PATELLA_INLINE V16 Round(V16 a) { PATELLA_LANES(std::nearbyintf(a.v[i])); }
PATELLA_INLINE V16 ScaleByPow2(V16 a, V16 n) {
  PATELLA_LANES(a.v[i] * FromBits(static_cast<uint32_t>(static_cast<int>(n.v[i]) + 127) << 23));
}
PATELLA_INLINE void StoreInt8(int8_t* p, V16 a) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(a.v[i]);
}
#undef PATELLA_LANES

#endif

// e^x, relative error < 3e-7 on [−87, 87], clamped outside: x = n·ln 2 + r, |r| ≤ ln 2 / 2, Taylor to r⁶.
PATELLA_INLINE V16 Exp(V16 x) {
  x = Max(x, Set1(-87.0f));
  x = Sub(Set1(0), Max(Sub(Set1(0), x), Set1(-87.0f)));
  const V16 n = Round(Mul(x, Set1(1.44269504f)));
  V16 r = Fma(n, Set1(-0.693359375f), x);
  r = Fma(n, Set1(2.12194440e-4f), r);
  V16 p = Set1(1.0f / 720);
  p = Fma(p, r, Set1(1.0f / 120));
  p = Fma(p, r, Set1(1.0f / 24));
  p = Fma(p, r, Set1(1.0f / 6));
  p = Fma(p, r, Set1(0.5f));
  p = Fma(p, r, Set1(1.0f));
  p = Fma(p, r, Set1(1.0f));
  return ScaleByPow2(p, n);
}

}  // namespace
