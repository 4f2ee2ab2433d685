// One token-budget loop without phases: decode first, then running prefills, then waiting ones in FIFO order, the last chunked.
//
// KV is leased lease_tokens at a time (256) and grows with the sequence; `watermark` of the pool stays free when a sequence is
// admitted beside others. When a running sequence cannot grow, the one with the least computed tokens is preempted: it gives all
// blocks back, returns to the head of the queue and is computed again (counted). With `full_reservation` a sequence leases
// prompt + max_new_tokens at once and nothing is ever preempted.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/backend/executor.h"
#include "engine/schedule/block_pool.h"
#include "engine/schedule/limits.h"

namespace patella::engine {

struct SchedulerOptions {
  int block_size = 16;
  int blocks = 0;
  int max_tokens_per_forward = 512;  // the executor's own bound
  int lease_tokens = 256;
  double watermark = 0.05;
  bool full_reservation = false;
};

// What one forward computes. items[i] belongs to ids[i]; the spans hold until Commit or Cancel.
struct Step {
  std::vector<uint64_t> ids;
  std::vector<StepItem> items;
  int tokens = 0;
  int prompt_tokens = 0;
  int admitted = 0;  // of the items: those that left the queue for this step
};

struct Sampled {
  int32_t token;
  bool end;  // end of generation by the model's own sign
};

enum class SequenceEnd { kEndToken, kLength };
struct Finished {
  uint64_t id;
  SequenceEnd end;
};

struct SchedulerStats {
  int running = 0;
  int waiting = 0;
  int64_t leased_tokens = 0;
  int64_t capacity_tokens = 0;
  uint64_t preemptions = 0;
};

// Not thread-safe. Plan and Commit alternate (after a failed pass: Cancel its ids); Submit, Cancel and Reconfigure come between Commit and Plan.
class Scheduler {
 public:
  Scheduler(const SchedulerOptions& options, const Limits& limits);
  ~Scheduler();

  // ids are unique among live sequences; the prompt has at least one token, max_new_tokens ≥ 1. OutOfRange if it could never fit.
  // prompt_logits: its items ask for every token's logits until the prompt is computed.
  absl::Status Submit(uint64_t id, std::vector<int32_t> prompt, int max_new_tokens, bool prompt_logits = false);
  bool Cancel(uint64_t id);  // frees its blocks now; false if it is not (or no longer) here
  // In force from the next Plan on; running sequences keep what they have.
  absl::Status Reconfigure(const Limits& limits, uint64_t generation);

  Step Plan();
  // One Sampled for each item that wants logits, in order.
  std::vector<Finished> Commit(const Step& step, std::span<const Sampled> sampled);

  const Limits& limits() const { return limits_; }
  uint64_t generation() const { return generation_; }
  SchedulerStats stats() const;
  bool idle() const { return running_.empty() && waiting_.empty(); }

  // FailedPrecondition names the limit that cannot be, and why.
  static absl::Status Check(const SchedulerOptions& options, const Limits& limits);

 private:
  struct Sequence;
  using SequencePtr = std::unique_ptr<Sequence>;

  int BlocksFor(int64_t tokens) const;
  int CeilingBlocks() const;
  int Budget() const;
  bool GrowFor(Sequence& sequence, int64_t tokens);  // preempts others; false if `sequence` itself was the victim
  void Preempt(Sequence& victim);
  bool Admit();
  void AddItem(Sequence& sequence, int count, Step& step);

  SchedulerOptions options_;
  Limits limits_;
  uint64_t generation_ = 1;
  uint64_t preemptions_ = 0;
  uint64_t arrivals_ = 0;
  BlockPool pool_;
  int growth_ceiling_;  // blocks; above a ceiling that was lowered until those who run under the old one have fallen below it: nobody is preempted for it
  std::vector<SequencePtr> running_;  // in order of arrival
  std::deque<SequencePtr> waiting_;   // in order of arrival
};

}  // namespace patella::engine
