#include "engine/serve/kv_tokens.h"

#include <algorithm>
#include <optional>

#include "lib/base/logging.h"

namespace patella::engine {
namespace {

constexpr int64_t kDefault = 32768, kLeastByDefault = 2048;
constexpr double kMostOfMemory = 0.9;  // for a KV cache that was asked for

// What the machine can still give, or what a container's limit leaves beside the weights. Nothing where neither is known.
std::optional<int64_t> FreeBytes(const MemoryFigures& memory) {
  std::optional<int64_t> free;
  if (memory.available > 0) free = memory.available;
  if (memory.limit > 0) {
    const int64_t beside = std::max<int64_t>(0, memory.limit - memory.weights);
    free = std::min(free.value_or(beside), beside);
  }
  return free;
}

}  // namespace

int64_t KvTokens(int64_t asked, int64_t bytes_per_token, int block_size, const MemoryFigures& memory) {
  const std::optional<int64_t> free = FreeBytes(memory);
  const int64_t held = free.value_or(0) / std::max<int64_t>(1, bytes_per_token);
  int64_t tokens = asked;
  if (asked == 0) {
    tokens = std::clamp(held / 4, kLeastByDefault, kDefault);
  } else if (const auto most = static_cast<int64_t>(kMostOfMemory * static_cast<double>(held)); free && asked > most) {
    LogWarning("kv_tokens_lowered", {{"MAX_BATCH_TOTAL_TOKENS", asked}, {"memory_holds", most}});
    tokens = most;
  }
  return std::max<int64_t>(1, tokens / block_size) * block_size;
}

}  // namespace patella::engine
