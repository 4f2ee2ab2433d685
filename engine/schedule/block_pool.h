// The KV cache's blocks and who has them. A Lease gives its blocks back when it goes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace patella::engine {

class BlockPool;

// Blocks in page-table order. Must not outlive its pool.
class Lease {
 public:
  explicit Lease(BlockPool& pool) : pool_(&pool) {}
  Lease(Lease&& other) noexcept;
  Lease& operator=(Lease&& other) noexcept;
  ~Lease() { Release(); }

  bool Grow(int count);  // takes `count` more blocks, or none and returns false
  void Release();
  std::span<const int32_t> blocks() const { return blocks_; }
  int size() const { return static_cast<int>(blocks_.size()); }

 private:
  BlockPool* pool_;
  std::vector<int32_t> blocks_;
};

// Thread-compatible. O(1) a block; no allocation after construction but for the leases' own lists.
class BlockPool {
 public:
  explicit BlockPool(int blocks);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  int total() const { return total_; }
  int free() const { return static_cast<int>(free_.size()); }
  int used() const { return total_ - free(); }

 private:
  friend class Lease;
  int total_;
  std::vector<int32_t> free_;
};

}  // namespace patella::engine
