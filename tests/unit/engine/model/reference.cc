#include "tests/unit/engine/model/reference.h"

#include <cmath>
#include <cstdlib>

#include "engine/formats/gguf_writer.h"
#include "lib/base/random.h"

namespace patella::engine {
namespace {

constexpr int kLayers = 2, kHidden = 64, kHeads = 4, kKvHeads = 2, kDim = 16, kWide = 96, kVocab = 80;

using Row = std::vector<double>;

std::vector<float> Tensor(const GgufFile& file, const std::string& name) {
  const TensorInfo* t = file.FindTensor(name);
  if (t == nullptr) std::abort();
  uint64_t count = 1;
  for (uint64_t d : t->dims) count *= d;
  std::vector<float> out(count);
  Dequantize(t->type, t->data.data(), count, out.data());
  return out;
}

Row Times(const std::vector<float>& w, const Row& x) {
  Row y(w.size() / x.size());
  for (size_t n = 0; n < y.size(); ++n) {
    for (size_t k = 0; k < x.size(); ++k) y[n] += double{w[n * x.size() + k]} * x[k];
  }
  return y;
}

Row Norm(const Row& x, const std::vector<float>& w, double epsilon) {
  double squares = 0;
  for (double v : x) squares += v * v;
  Row y(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    y[i] = x[i] / std::sqrt(squares / static_cast<double>(x.size()) + epsilon) * w[i];
  return y;
}

void Rotate(Row* x, size_t position, double theta) {
  for (size_t i = 0; i < x->size(); i += 2) {
    const double angle = static_cast<double>(position) * std::pow(theta, -static_cast<double>(i % kDim) / kDim);
    const double a = (*x)[i], b = (*x)[i + 1];
    (*x)[i] = a * std::cos(angle) - b * std::sin(angle);
    (*x)[i + 1] = a * std::sin(angle) + b * std::cos(angle);
  }
}

void AddTo(Row* x, const Row& y) {
  for (size_t i = 0; i < x->size(); ++i) (*x)[i] += y[i];
}

Row Attend(const Row& q, const std::vector<Row>& keys, const std::vector<Row>& values, size_t last, size_t shift) {
  Row out(q.size());
  for (size_t h = 0; h < kHeads; ++h) {
    const size_t kv = (h * kKvHeads / kHeads + shift) % kKvHeads * kDim;
    Row p(last + 1);
    double total = 0;
    for (size_t t = 0; t <= last; ++t) {
      double score = 0;
      for (size_t d = 0; d < kDim; ++d) score += q[h * kDim + d] * keys[t][kv + d];
      total += p[t] = std::exp(score / std::sqrt(double{kDim}));
    }
    for (size_t t = 0; t <= last; ++t) {
      for (size_t d = 0; d < kDim; ++d) out[h * kDim + d] += p[t] / total * values[t][kv + d];
    }
  }
  return out;
}

}  // namespace

std::unique_ptr<GgufFile> TinyLlama(TensorType type, uint64_t seed, const std::string& path) {
  GgufWriter w;
  Random random(seed);
  w.SetString("general.architecture", "llama");
  const auto set = [&](const char* key, int value) {
    w.SetUint32(std::string("llama.") + key, static_cast<uint32_t>(value));
  };
  set("block_count", kLayers);
  set("embedding_length", kHidden);
  set("feed_forward_length", kWide);
  set("context_length", 512);
  set("attention.head_count", kHeads);
  set("attention.head_count_kv", kKvHeads);
  w.SetFloat("llama.rope.freq_base", 10000);
  w.SetFloat("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  const auto add = [&](const std::string& name, TensorType as, std::vector<uint64_t> dims, double mean, double spread) {
    std::vector<float> values(dims[0] * (dims.size() > 1 ? dims[1] : 1));
    for (float& x : values) x = static_cast<float>(mean + spread * random.Normal());
    w.AddFloats(name, as, dims, values);
  };
  add("token_embd.weight", type, {kHidden, kVocab}, 0, 0.15);
  add("output_norm.weight", TensorType::kF32, {kHidden}, 1, 0.1);
  for (int i = 0; i < kLayers; ++i) {
    const std::string at = "blk." + std::to_string(i) + ".";
    for (const char* norm : {"attn_norm", "ffn_norm"}) add(at + norm + ".weight", TensorType::kF32, {kHidden}, 1, 0.1);
    add(at + "attn_q.weight", type, {kHidden, kHeads * kDim}, 0, 0.15);
    add(at + "attn_k.weight", type, {kHidden, kKvHeads * kDim}, 0, 0.15);
    add(at + "attn_v.weight", type, {kHidden, kKvHeads * kDim}, 0, 0.15);
    add(at + "attn_output.weight", type, {kHeads * kDim, kHidden}, 0, 0.15);
    add(at + "ffn_gate.weight", type, {kHidden, kWide}, 0, 0.15);
    add(at + "ffn_up.weight", type, {kHidden, kWide}, 0, 0.15);
    add(at + "ffn_down.weight", type, {kWide, kHidden}, 0, 0.15);
  }
  if (!w.WriteTo(path).ok()) std::abort();
  auto file = GgufFile::Open(path);
  if (!file.ok()) std::abort();
  return *std::move(file);
}

std::vector<double> ReferenceLogits(const GgufFile& file, std::span<const int32_t> tokens, Mutation mutation) {
  const double theta = mutation == Mutation::kWrongTheta ? 1000 : 10000;
  const double epsilon = mutation == Mutation::kWrongEpsilon ? 1e-2 : 1e-5;
  const std::vector<float> embedding = Tensor(file, "token_embd.weight");
  std::vector<Row> x;
  for (int32_t token : tokens) {
    const auto from = embedding.begin() + token * kHidden;
    x.emplace_back(from, from + kHidden);
  }
  for (int layer = 0; layer < kLayers; ++layer) {
    const auto weight = [&](const char* name) {
      return Tensor(file, "blk." + std::to_string(layer) + "." + name + ".weight");
    };
    const auto wq = weight("attn_q"), wk = weight("attn_k"), wv = weight("attn_v"), wo = weight("attn_output");
    const auto gate = weight("ffn_gate"), up = weight("ffn_up"), down = weight("ffn_down");
    std::vector<Row> keys, values;
    for (size_t t = 0; t < x.size(); ++t) {
      const Row normed = Norm(x[t], weight("attn_norm"), epsilon);
      Row q = Times(wq, normed), k = Times(wk, normed);
      if (mutation != Mutation::kNoRope) Rotate(&q, t, theta), Rotate(&k, t, theta);
      keys.push_back(k);
      values.push_back(Times(wv, normed));
      AddTo(&x[t], Times(wo, Attend(q, keys, values, t, mutation == Mutation::kShiftedKvHeads ? 1 : 0)));
      const Row mid = Norm(x[t], weight("ffn_norm"), epsilon);
      Row wide = Times(gate, mid);
      const Row other = Times(up, mid);
      for (size_t i = 0; i < wide.size(); ++i) wide[i] *= other[i] / (1 + std::exp(-wide[i]));
      AddTo(&x[t], Times(down, wide));
    }
  }
  return Times(embedding, Norm(x.back(), Tensor(file, "output_norm.weight"), epsilon));
}

}  // namespace patella::engine
