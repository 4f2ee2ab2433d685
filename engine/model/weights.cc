#include "engine/model/weights.h"

#include <cmath>
#include <initializer_list>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"

namespace patella::engine {
namespace {

using cpu::PackedMatrix;

class Reader {
 public:
  Reader(const GgufFile& file, bool exact) : file_(file), exact_(exact) {}

  absl::StatusOr<const TensorInfo*> Find(const std::string& name, int k, int rows) const {
    const TensorInfo* tensor = file_.FindTensor(name);
    if (tensor == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": tensor ", name, " is missing"));
    }
    const bool is_vector = rows == 0;
    const bool fits = tensor->dims.size() == (is_vector ? 1 : 2) && tensor->dims[0] == static_cast<uint64_t>(k) &&
                      (is_vector || tensor->dims[1] == static_cast<uint64_t>(rows));
    if (!fits) {
      return absl::InvalidArgumentError(absl::StrCat(file_.path(), ": tensor ", name, " should have ", k,
                                                     is_vector ? " values" : absl::StrCat(" × ", rows, " values")));
    }
    return tensor;
  }

  absl::Status Vector(const std::string& name, int length, std::vector<float>* out) const {
    PATELLA_ASSIGN_OR_RETURN(const TensorInfo* tensor, Find(name, length, 0));
    const size_t begin = out->size();
    out->resize(begin + static_cast<size_t>(length));
    Dequantize(tensor->type, tensor->data.data(), static_cast<uint64_t>(length), out->data() + begin);
    return absl::OkStatus();
  }

  absl::Status OptionalVector(const std::string& name, int length, std::vector<float>* out) const {
    return file_.FindTensor(name) == nullptr ? absl::OkStatus() : Vector(name, length, out);
  }

  struct Part {
    std::string name;
    int rows;
  };
  absl::Status Matrix(std::initializer_list<Part> parts, int k, PackedMatrix* out) const {
    std::vector<const TensorInfo*> tensors;
    for (const Part& part : parts) {
      PATELLA_ASSIGN_OR_RETURN(const TensorInfo* tensor, Find(part.name, k, part.rows));
      tensors.push_back(tensor);
    }
    PATELLA_ASSIGN_OR_RETURN(*out, PackedMatrix::Pack(tensors, exact_));
    return absl::OkStatus();
  }

 private:
  const GgufFile& file_;
  bool exact_;
};

absl::Status ReadLayer(const Reader& reader, const ModelInfo& m, int index, LayerWeights* layer) {
  const auto name = [&](const char* part) { return absl::StrCat("blk.", index, ".", part); };
  const int q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
  PATELLA_RETURN_IF_ERROR(reader.Vector(name("attn_norm.weight"), m.hidden, &layer->attention_norm));
  PATELLA_RETURN_IF_ERROR(reader.Vector(name("ffn_norm.weight"), m.hidden, &layer->feed_forward_norm));
  PATELLA_RETURN_IF_ERROR(reader.OptionalVector(name("attn_q_norm.weight"), m.head_dim, &layer->q_norm));
  PATELLA_RETURN_IF_ERROR(reader.OptionalVector(name("attn_k_norm.weight"), m.head_dim, &layer->k_norm));
  PATELLA_RETURN_IF_ERROR(reader.OptionalVector(name("attn_q.bias"), q, &layer->qkv_bias));
  if (!layer->qkv_bias.empty()) {
    PATELLA_RETURN_IF_ERROR(reader.Vector(name("attn_k.bias"), kv, &layer->qkv_bias));
    PATELLA_RETURN_IF_ERROR(reader.Vector(name("attn_v.bias"), kv, &layer->qkv_bias));
  }
  PATELLA_RETURN_IF_ERROR(reader.Matrix(
      {{name("attn_q.weight"), q}, {name("attn_k.weight"), kv}, {name("attn_v.weight"), kv}}, m.hidden, &layer->qkv));
  PATELLA_RETURN_IF_ERROR(reader.Matrix({{name("attn_output.weight"), m.hidden}}, q, &layer->output));
  PATELLA_RETURN_IF_ERROR(reader.Matrix(
      {{name("ffn_gate.weight"), m.feed_forward}, {name("ffn_up.weight"), m.feed_forward}}, m.hidden, &layer->gate_up));
  return reader.Matrix({{name("ffn_down.weight"), m.hidden}}, m.feed_forward, &layer->down);
}

absl::Status ReadFrequencies(const GgufFile& file, const Reader& reader, const ModelInfo& m, std::vector<float>* out) {
  double shrink = 1;
  if (auto factor = file.GetFloat(absl::StrCat(m.architecture, ".rope.scaling.factor")); factor.ok() && *factor > 0) {
    shrink = *factor;
  }
  std::vector<float> factors;
  PATELLA_RETURN_IF_ERROR(reader.OptionalVector("rope_freqs.weight", m.head_dim / 2, &factors));
  for (int i = 0; i < m.head_dim / 2; ++i) {
    const double factor = factors.empty() ? shrink : factors[static_cast<size_t>(i)];
    out->push_back(static_cast<float>(std::pow(double{m.rope_theta}, -2.0 * i / m.head_dim) / factor));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Weights> ReadWeights(const GgufFile& file, const ModelInfo& model, bool exact) {
  const Reader reader(file, exact);
  Weights weights;
  weights.layers.resize(static_cast<size_t>(model.layers));
  for (int i = 0; i < model.layers; ++i) {
    PATELLA_RETURN_IF_ERROR(ReadLayer(reader, model, i, &weights.layers[static_cast<size_t>(i)]));
  }
  PATELLA_RETURN_IF_ERROR(reader.Vector("output_norm.weight", model.hidden, &weights.output_norm));
  PATELLA_RETURN_IF_ERROR(reader.Matrix({{"token_embd.weight", model.vocab}}, model.hidden, &weights.embedding));
  weights.tied = file.FindTensor("output.weight") == nullptr;
  if (!weights.tied) {
    PATELLA_RETURN_IF_ERROR(reader.Matrix({{"output.weight", model.vocab}}, model.hidden, &weights.head));
  }
  PATELLA_RETURN_IF_ERROR(ReadFrequencies(file, reader, model, &weights.inverse_frequency));
  return weights;
}

}  // namespace patella::engine
