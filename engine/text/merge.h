// The merge loop that byte-level BPE and SentencePiece-style tokenizers share: a linked list of pieces and a priority queue of
// neighbours, O(n log n).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace patella::engine {

struct Piece {
  uint32_t begin;  // bytes of the text
  uint32_t bytes;  // 0: merged into another
  int32_t id;      // -1: no token
};

struct MergeRule {
  double rank;  // the lowest merges first; of equals the leftmost
  int32_t id;
};

// Merges neighbours until rule(left, right) -> std::optional<MergeRule> allows no more. One per call; reuse saves allocations.
class Merger {
 public:
  std::vector<Piece>& pieces() { return pieces_; }

  template <typename Rule>
  void Run(const Rule& rule) {
    const int count = static_cast<int>(pieces_.size());
    links_.resize(pieces_.size());
    heap_.clear();
    for (int i = 0; i < count; ++i) links_[i] = {i - 1, i + 1 < count ? i + 1 : -1};
    for (int i = 0; i + 1 < count; ++i) Offer(rule, i);
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate best = heap_.back();
      heap_.pop_back();
      Piece& left = pieces_[best.left];
      const int right = links_[best.left].next;
      // Pieces only grow, so an equal sum means that neither has changed since the offer.
      if (left.bytes == 0 || right < 0 || left.bytes + pieces_[right].bytes != best.bytes) continue;
      left.bytes = best.bytes;
      left.id = best.id;
      pieces_[right].bytes = 0;
      links_[best.left].next = links_[right].next;
      if (links_[right].next >= 0) links_[links_[right].next].previous = best.left;
      if (links_[best.left].previous >= 0) Offer(rule, links_[best.left].previous);
      if (links_[best.left].next >= 0) Offer(rule, best.left);
    }
    std::erase_if(pieces_, [](const Piece& piece) { return piece.bytes == 0; });
  }

 private:
  struct Link {
    int previous;
    int next;
  };
  struct Candidate {
    double rank;
    int left;
    uint32_t bytes;
    int32_t id;
    bool operator<(const Candidate& other) const {  // std::*_heap keeps the greatest first
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };

  template <typename Rule>
  void Offer(const Rule& rule, int left) {
    const Piece& a = pieces_[left];
    const Piece& b = pieces_[links_[left].next];
    const std::optional<MergeRule> found = rule(a, b);
    if (!found) return;
    heap_.push_back({found->rank, left, a.bytes + b.bytes, found->id});
    std::push_heap(heap_.begin(), heap_.end());
  }

  std::vector<Piece> pieces_;
  std::vector<Link> links_;
  std::vector<Candidate> heap_;
};

}  // namespace patella::engine
