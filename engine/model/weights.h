// A model's tensors, packed. Internal to engine/model.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/cpu/packed.h"
#include "engine/model/loader.h"

namespace patella::engine {

struct LayerWeights {
  std::vector<float> attention_norm;
  std::vector<float> feed_forward_norm;
  std::vector<float> qkv_bias;  // empty, or (heads + 2·kv_heads)·head_dim
  std::vector<float> q_norm;    // empty, or head_dim
  std::vector<float> k_norm;
  cpu::PackedMatrix qkv;  // q, then k, then v
  cpu::PackedMatrix output;
  cpu::PackedMatrix gate_up;  // gate, then up
  cpu::PackedMatrix down;
};

struct Weights {
  std::vector<LayerWeights> layers;
  std::vector<float> output_norm;
  std::vector<float> inverse_frequency;  // (head_dim/2), rope scaling included
  cpu::PackedMatrix embedding;
  cpu::PackedMatrix head;  // empty if tied to the embedding
  bool tied = false;

  const cpu::PackedMatrix& head_matrix() const { return tied ? embedding : head; }
};

absl::StatusOr<Weights> ReadWeights(const GgufFile& file, const ModelInfo& model, bool exact);

}  // namespace patella::engine
