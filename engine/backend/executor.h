// What the scheduler asks of a device: compute one mixed batch of tokens. Implemented by cpu.
//
// Threading: one thread (the engine thread) calls Forward. Blocks are pages of block_size tokens in the backend's KV cache;
// who owns which block is decided by schedule/, never here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace patella::engine {

struct StepItem {
  std::span<const int32_t> tokens;  // tokens to compute now, at positions first_position, first_position+1, …
  int first_position;               // tokens already in the KV cache for this sequence
  std::span<const int32_t> blocks;  // page table: covers first_position + tokens.size() tokens
  bool wants_logits;                // of the last of `tokens`
  bool every_token = false;         // logits of each of `tokens`, whatever wants_logits says
};

// Rows of logits that an item gets.
inline size_t LogitRows(const StepItem& item) { return item.every_token ? item.tokens.size() : item.wants_logits; }

struct Capacity {
  int block_size;  // tokens a block
  int blocks;      // in the pool
  int max_tokens_per_forward;
};

class Executor {
 public:
  virtual ~Executor() = default;
  // logits: resized to (sum of LogitRows, vocab_size), row-major, in order of items and, within one, of tokens.
  // InvalidArgument for a batch that breaks the contract; Internal when the device failed.
  virtual absl::Status Forward(std::span<const StepItem> items, std::vector<float>* logits) = 0;
  virtual int vocab_size() const = 0;
  virtual Capacity capacity() const = 0;
};

}  // namespace patella::engine
