// Each kernel of every table that this CPU runs against a twin in double precision with the same integers.
#include <cmath>
#include <vector>

#include "engine/backend/cpu/ops.h"
#include "engine/backend/cpu/packed.h"
#include "engine/formats/gguf_writer.h"
#include "gtest/gtest.h"
#include "lib/base/random.h"

namespace patella::engine::cpu {
namespace {

std::vector<float> Normals(size_t count, Random& random) {
  std::vector<float> values(count);
  for (float& x : values) x = static_cast<float>(random.Normal());
  return values;
}

class KernelTest : public testing::TestWithParam<const Ops*> {
 protected:
  const Ops& ops() const { return *GetParam(); }
  Random random_{7};
};

struct Quantised {
  std::vector<int8_t> q;
  std::vector<float> scale, sum;
};

Quantised QuantiseRows(const Ops& ops, const std::vector<float>& x, int k) {
  Quantised out{std::vector<int8_t>(x.size()), std::vector<float>(x.size() / 32), std::vector<float>(x.size() / 32)};
  for (size_t at = 0; at < x.size(); at += static_cast<size_t>(k)) {
    ops.quantize(x.data() + at, k, out.q.data() + at, out.scale.data() + at / 32, out.sum.data() + at / 32);
  }
  return out;
}

TEST_P(KernelTest, GemmOfEveryTypeEqualsItsEmulationAtEveryRowCount) {
  constexpr int kRows = 35, kLength = 96;
  for (TensorType type : {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ8_0,
                          TensorType::kBF16, TensorType::kF32}) {
    const std::vector<std::byte> bytes = Quantize(type, Normals(kRows * kLength, random_));
    std::vector<float> w(kRows * kLength);
    Dequantize(type, bytes.data(), w.size(), w.data());
    const TensorInfo tensor{"w", type, {kLength, kRows}, bytes};
    const TensorInfo* const list[] = {&tensor};
    const auto packed = PackedMatrix::Pack(list, false);
    ASSERT_TRUE(packed.ok()) << packed.status();
    for (int m = 1; m <= 27; ++m) {
      const std::vector<float> x = Normals(static_cast<size_t>(m * kLength), random_);
      const Quantised a = QuantiseRows(ops(), x, kLength);
      std::vector<float> y(static_cast<size_t>(m) * kRows, 1.0f);
      ops().gemm(
          {packed->view(), {x.data(), a.q.data(), a.scale.data(), a.sum.data()}, m, 0, 3, y.data(), kRows, true});
      for (int r = 0; r < m; ++r) {
        for (int n = 0; n < kRows; ++n) {
          double sum = 1, size = 1;
          for (int i = 0; i < kLength; ++i) {
            const auto at = static_cast<size_t>(r * kLength + i);
            const double value = packed->is_integer() ? static_cast<double>(a.q[at]) * a.scale[at / 32] : x[at];
            sum += value * w[static_cast<size_t>(n * kLength + i)];
            size += std::fabs(value * w[static_cast<size_t>(n * kLength + i)]);
          }
          ASSERT_NEAR(y[static_cast<size_t>(r * kRows + n)], sum, 1e-5 * size) << TypeName(type) << " m " << m;
        }
      }
    }
  }
}

TEST_P(KernelTest, EmbeddingRowsComeBackAsTheFileHasThem) {
  for (TensorType type :
       {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ8_0}) {
    const std::vector<std::byte> bytes = Quantize(type, Normals(20 * 64, random_));
    std::vector<float> w(20 * 64), row(64);
    Dequantize(type, bytes.data(), w.size(), w.data());
    const TensorInfo tensor{"w", type, {64, 20}, bytes};
    const TensorInfo* const list[] = {&tensor};
    const auto packed = PackedMatrix::Pack(list, false);
    ASSERT_TRUE(packed.ok());
    for (int n = 0; n < 20; ++n) {
      packed->Gather(n, row.data());
      for (int i = 0; i < 64; ++i) ASSERT_NEAR(row[static_cast<size_t>(i)], w[static_cast<size_t>(n * 64 + i)], 1e-5);
    }
  }
}

TEST_P(KernelTest, QuantisationIsWithinHalfAStepAndItsSumsAreExact) {
  std::vector<float> x = Normals(128, random_);
  std::fill(x.begin() + 32, x.begin() + 64, 0.0f);
  const Quantised a = QuantiseRows(ops(), x, 128);
  for (size_t b = 0; b < 4; ++b) {
    int sum = 0;
    for (size_t i = b * 32; i < b * 32 + 32; ++i) {
      sum += a.q[i];
      EXPECT_NEAR(a.q[i] * a.scale[b], x[i], 0.5001 * a.scale[b]);
    }
    EXPECT_FLOAT_EQ(a.sum[b], a.scale[b] * static_cast<float>(sum));
  }
}

TEST_P(KernelTest, ElementwiseKernelsEqualTheirFormulas) {
  const std::vector<float> x = Normals(96, random_), up = Normals(96, random_);
  std::vector<float> y(96), added = up;
  ops().rms_norm(x.data(), up.data(), 96, 1e-5f, y.data());
  double squares = 0;
  for (float v : x) squares += double{v} * v;
  for (size_t i = 0; i < 96; ++i) EXPECT_NEAR(y[i], x[i] / std::sqrt(squares / 96 + 1e-5) * up[i], 1e-5);
  ops().swiglu(x.data(), up.data(), 96, y.data());
  for (size_t i = 0; i < 96; ++i) EXPECT_NEAR(y[i], x[i] / (1 + std::exp(-double{x[i]})) * up[i], 1e-5);
  ops().add(x.data(), 96, added.data());
  for (size_t i = 0; i < 96; ++i) EXPECT_FLOAT_EQ(added[i], x[i] + up[i]);
}

TEST_P(KernelTest, PagedCausalAttentionEqualsSoftmaxForEveryChunk) {
  constexpr int kDim = 32, kGroup = 3, kLength = 53, kBlocks = 3;  // blocks of 32 tokens: two cells
  const int32_t table[] = {2, 0};
  std::vector<uint16_t> cache(kBlocks * 2 * 2 * 16 * kDim, 0x7e00);  // NaN: what is not stored must not be read
  const std::vector<float> k = Normals(kLength * kDim, random_), v = Normals(kLength * kDim, random_);
  const std::vector<float> q = Normals(kLength * kGroup * kDim, random_);
  for (int t = 0; t < kLength; ++t) {
    uint16_t* cell = cache.data() + (table[t / 32] * 2 + t % 32 / 16) * 2 * 16 * kDim;
    ops().store_kv(&k[static_cast<size_t>(t * kDim)], &v[static_cast<size_t>(t * kDim)], kDim, t % 16, cell);
  }
  for (const auto& [first, count] : {std::pair{0, 53}, {20, 33}, {52, 1}, {15, 2}, {0, 1}}) {
    std::vector<float> out(static_cast<size_t>(count * kGroup * kDim));
    ops().attend({q.data() + first * kGroup * kDim, kGroup * kDim, count, first, kGroup, kDim, 0.2f, cache.data(),
                  2 * 16 * kDim, table, 2, out.data(), kGroup * kDim});
    for (int row = 0; row < count * kGroup; ++row) {
      const float* query = q.data() + (first * kGroup + row) * kDim;
      const int seen = first + row / kGroup + 1;
      std::vector<double> p(static_cast<size_t>(seen));
      double total = 0;
      for (int t = 0; t < seen; ++t) {
        double score = 0;
        for (int d = 0; d < kDim; ++d) score += double{query[d]} * k[static_cast<size_t>(t * kDim + d)];
        total += p[static_cast<size_t>(t)] = std::exp(0.2 * score);
      }
      for (int d = 0; d < kDim; ++d) {
        double expected = 0;
        for (int t = 0; t < seen; ++t)
          expected += p[static_cast<size_t>(t)] / total * v[static_cast<size_t>(t * kDim + d)];
        ASSERT_NEAR(out[static_cast<size_t>(row * kDim + d)], expected, 4e-3) << "fp16 cache; row " << row;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryTable, KernelTest, testing::ValuesIn(SupportedOps().begin(), SupportedOps().end()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace
}  // namespace patella::engine::cpu
