// How many tokens the KV cache is made for: what was asked for, as far as memory holds it. Pure, but for a warning in the log.
#pragma once

#include <cstdint>

namespace patella::engine {

// Bytes.
struct MemoryFigures {
  int64_t available = 0;  // what the machine can still give; 0: unknown
  int64_t limit = 0;      // the container's; 0: none
  int64_t weights = 0;    // that the limit counts too
};

// `asked`: MAX_BATCH_TOTAL_TOKENS. It is lowered to what nine tenths of the free memory hold, and stands where that is unknown. 0, not
// given: 32768 or what a quarter of the free memory holds, but at least 2048. Whole blocks, at least one.
int64_t KvTokens(int64_t asked, int64_t bytes_per_token, int block_size, const MemoryFigures& memory);

}  // namespace patella::engine
