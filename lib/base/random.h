// A small seeded generator whose sequences are the same on every platform and compiler (unlike std::*_distribution's).
// Thread-compatible. Not for secrets.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>

namespace patella {

// SplitMix64: one addition and three xor-shift-multiplies a number. A UniformRandomBitGenerator, so std::shuffle takes
// it.
class Random {
 public:
  using result_type = uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<uint64_t>::max(); }

  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t operator()() { return Next(); }
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // In [0, 1), 53 bits.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }

  // In [low, high], both included; without modulo bias. Needs low ≤ high.
  int64_t UniformInt(int64_t low, int64_t high) {
    const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
    if (range == 0) return static_cast<int64_t>(Next());  // the whole 64 bits
    const uint64_t excess = (max() % range + 1) % range;
    uint64_t drawn = Next();
    while (drawn > max() - excess) drawn = Next();
    return static_cast<int64_t>(static_cast<uint64_t>(low) + drawn % range);
  }

  // With the given mean, e.g. the time between arrivals of a Poisson process.
  double Exponential(double mean) { return -mean * std::log1p(-Uniform()); }

  double Normal() { return std::sqrt(-2 * std::log1p(-Uniform())) * std::cos(2 * std::numbers::pi * Uniform()); }

 private:
  uint64_t state_;
};

}  // namespace patella
