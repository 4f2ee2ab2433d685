// The engine's live limits, swapped as a whole.
#pragma once

#include <cstdint>

namespace patella::engine {

struct Limits {
  int max_concurrent_requests = 128;   // admitted (running and waiting); more get 429
  int max_batch_prefill_tokens = 512;  // tokens a forward pass, prompt and decode together
  int64_t max_batch_total_tokens = 0;  // KV tokens leased by all running sequences; 0: the pool's capacity
  int max_batch_size = 0;              // running sequences; 0: unlimited

  bool operator==(const Limits&) const = default;
};

}  // namespace patella::engine
