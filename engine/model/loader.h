// From a model file to an Executor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/backend/executor.h"
#include "engine/formats/gguf.h"

namespace patella::engine {

struct ModelInfo {
  std::string architecture;  // "llama"
  std::string name;          // general.name, or ""
  int layers = 0;
  int hidden = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  int feed_forward = 0;
  int vocab = 0;
  int context_length = 0;
  float rope_theta = 10000;
  float rms_epsilon = 1e-5f;
  int64_t kv_bytes_per_token = 0;  // all layers, K and V, in the cache's type
};

// Unimplemented names the architecture or tensor type that is not supported and lists those that are; InvalidArgument for
// sizes that contradict each other or the tensors.
absl::StatusOr<ModelInfo> ReadModelInfo(const GgufFile& file);

struct CpuOptions {
  int threads = 0;  // 0: as many as the cgroup's CPU quota gives
  int64_t kv_tokens = 32768;
  int block_size = 16;
  int max_tokens_per_forward = 512;
};

// Packs the weights for the best kernels this CPU has, allocates the KV cache. Nothing is allocated after it returns.
absl::StatusOr<std::unique_ptr<Executor>> LoadCpu(const GgufFile& file, const CpuOptions& options);

}  // namespace patella::engine
