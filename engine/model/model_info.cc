// Reads and checks a model's sizes from the metadata of its file.
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/backend/cpu/ops.h"
#include "engine/model/loader.h"
#include "lib/base/status_macros.h"

namespace patella::engine {
namespace {

absl::Status ReadInt(const GgufFile& file, const std::string& key, int* value) {
  PATELLA_ASSIGN_OR_RETURN(const int64_t read, file.GetInt(key));
  if (read < 1 || read > (1 << 28)) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", key, " is ", read, ", which no model has"));
  }
  *value = static_cast<int>(read);
  return absl::OkStatus();
}

absl::Status CheckSizes(const GgufFile& file, const ModelInfo& m) {
  const auto refuse = [&](auto... parts) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", parts...));
  };
  if (m.heads % m.kv_heads != 0) return refuse(m.heads, " heads do not divide among ", m.kv_heads, " KV heads");
  if (m.hidden % cpu::kBlock != 0 || m.feed_forward % cpu::kBlock != 0 || m.head_dim % 16 != 0 ||
      m.heads * m.head_dim % cpu::kBlock != 0 || m.head_dim > cpu::kMaxHeadDim) {
    return absl::UnimplementedError(absl::StrCat(file.path(), ": sizes must be multiples of 32 (hidden ", m.hidden,
                                                 ", feed-forward ", m.feed_forward,
                                                 ") and heads a multiple of 16 up to 256 wide (", m.head_dim, ")"));
  }
  if (!(m.rms_epsilon > 0) || !(m.rope_theta > 1) || !std::isfinite(m.rope_theta)) {
    return refuse("rope.freq_base ", m.rope_theta, " or layer_norm_rms_epsilon ", m.rms_epsilon, " makes no sense");
  }
  return absl::OkStatus();
}

absl::Status CheckSupported(const GgufFile& file, const std::string& architecture) {
  if (architecture != "llama" && architecture != "qwen2" && architecture != "qwen3") {
    return absl::UnimplementedError(absl::StrCat(file.path(), ": architecture \"", architecture,
                                                 "\" is not supported; these are: llama, qwen2, qwen3"));
  }
  if (auto experts = file.GetInt(absl::StrCat(architecture, ".expert_count")); experts.ok() && *experts > 0) {
    return absl::UnimplementedError(
        absl::StrCat(file.path(), ": mixtures of experts are not supported; dense models are"));
  }
  if (auto scaling = file.GetString(absl::StrCat(architecture, ".rope.scaling.type"));
      scaling.ok() && *scaling != "none" && *scaling != "linear") {
    return absl::UnimplementedError(absl::StrCat(file.path(), ": rope scaling \"", *scaling,
                                                 "\" is not supported; none, linear and rope_freqs.weight are"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelInfo> ReadModelInfo(const GgufFile& file) {
  ModelInfo m;
  PATELLA_ASSIGN_OR_RETURN(m.architecture, file.GetString("general.architecture"));
  PATELLA_RETURN_IF_ERROR(CheckSupported(file, m.architecture));
  const auto key = [&](const char* name) { return absl::StrCat(m.architecture, ".", name); };
  if (auto name = file.GetString("general.name"); name.ok()) m.name = *name;
  PATELLA_RETURN_IF_ERROR(ReadInt(file, key("block_count"), &m.layers));
  PATELLA_RETURN_IF_ERROR(ReadInt(file, key("embedding_length"), &m.hidden));
  PATELLA_RETURN_IF_ERROR(ReadInt(file, key("feed_forward_length"), &m.feed_forward));
  PATELLA_RETURN_IF_ERROR(ReadInt(file, key("context_length"), &m.context_length));
  PATELLA_RETURN_IF_ERROR(ReadInt(file, key("attention.head_count"), &m.heads));
  m.kv_heads = m.heads;
  if (file.Has(key("attention.head_count_kv"))) {
    PATELLA_RETURN_IF_ERROR(ReadInt(file, key("attention.head_count_kv"), &m.kv_heads));
  }
  m.head_dim = m.hidden / m.heads;
  if (file.Has(key("attention.key_length"))) {
    PATELLA_RETURN_IF_ERROR(ReadInt(file, key("attention.key_length"), &m.head_dim));
  }
  if (auto rotated = file.GetInt(key("rope.dimension_count")); rotated.ok() && *rotated != m.head_dim) {
    return absl::UnimplementedError(absl::StrCat(file.path(), ": rotates ", *rotated, " of ", m.head_dim,
                                                 " dimensions of a head; only all of them is supported"));
  }
  if (auto theta = file.GetFloat(key("rope.freq_base")); theta.ok()) m.rope_theta = static_cast<float>(*theta);
  PATELLA_ASSIGN_OR_RETURN(const double epsilon, file.GetFloat(key("attention.layer_norm_rms_epsilon")));
  m.rms_epsilon = static_cast<float>(epsilon);
  const TensorInfo* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr || embedding->dims.size() != 2 || embedding->dims[1] > (1u << 28)) {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": token_embd.weight is missing or not a matrix"));
  }
  m.vocab = static_cast<int>(embedding->dims[1]);
  m.kv_bytes_per_token = int64_t{2} * 2 * m.layers * m.kv_heads * m.head_dim;
  PATELLA_RETURN_IF_ERROR(CheckSizes(file, m));
  return m;
}

}  // namespace patella::engine
