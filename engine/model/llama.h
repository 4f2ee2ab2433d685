// The Llama family's forward pass on a CPU, written once over the ops table: llama, qwen2 (bias on q, k, v) and qwen3
// (normed q and k). Internal to engine/model; others include loader.h. Tests and the accuracy check choose ops and precision.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/cpu/ops.h"
#include "engine/model/loader.h"

namespace patella::engine {

struct LlamaOptions {
  CpuOptions cpu;
  const cpu::Ops* ops = nullptr;  // nullptr: the best that this CPU runs
  bool exact = false;             // float weights and activations: the reference for accuracy, four times the memory
};

absl::StatusOr<std::unique_ptr<Executor>> LoadLlama(const GgufFile& file, const LlamaOptions& options);

// Bytes of weights that one decode step reads.
struct WeightBytes {
  int64_t layers = 0;
  int64_t head = 0;
};
absl::StatusOr<WeightBytes> CountWeightBytes(const GgufFile& file);

}  // namespace patella::engine
