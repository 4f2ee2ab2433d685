#include "engine/schedule/block_pool.h"

#include <utility>

namespace patella::engine {

Lease::Lease(Lease&& other) noexcept : pool_(other.pool_), blocks_(std::exchange(other.blocks_, {})) {}

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    Release();
    pool_ = other.pool_;
    blocks_ = std::exchange(other.blocks_, {});
  }
  return *this;
}

bool Lease::Grow(int count) {
  if (count > pool_->free()) return false;
  for (int i = 0; i < count; ++i) {
    blocks_.push_back(pool_->free_.back());
    pool_->free_.pop_back();
  }
  return true;
}

void Lease::Release() {
  pool_->free_.insert(pool_->free_.end(), blocks_.rbegin(), blocks_.rend());
  blocks_.clear();
}

BlockPool::BlockPool(int blocks) : total_(blocks) {
  free_.reserve(blocks);
  for (int block = blocks - 1; block >= 0; --block) free_.push_back(block);
}

}  // namespace patella::engine
