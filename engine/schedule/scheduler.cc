#include "engine/schedule/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace patella::engine {

struct Scheduler::Sequence {
  Sequence(uint64_t i, uint64_t a, std::vector<int32_t> prompt, int max_new, BlockPool& pool)
      : id(i), arrival(a), tokens(std::move(prompt)), final_size(tokens.size() + max_new), lease(pool) {
    tokens.reserve(final_size);
  }
  int remaining() const { return static_cast<int>(tokens.size()) - computed; }

  uint64_t id;
  uint64_t arrival;
  std::vector<int32_t> tokens;  // prompt and what was generated
  size_t final_size;            // tokens.size() at which it ends
  int computed = 0;             // tokens whose KV is in the cache
  bool planned = false;
  size_t logits_until = 0;  // tokens before it want their logits: the prompt's, if asked for
  Lease lease;
};

Scheduler::Scheduler(const SchedulerOptions& options, const Limits& limits)
    : options_(options), limits_(limits), pool_(options.blocks), growth_ceiling_(CeilingBlocks()) {}
Scheduler::~Scheduler() = default;

int Scheduler::BlocksFor(int64_t tokens) const {
  return static_cast<int>((tokens + options_.block_size - 1) / options_.block_size);
}

int Scheduler::CeilingBlocks() const {
  if (limits_.max_batch_total_tokens <= 0) return pool_.total();
  return static_cast<int>(std::min<int64_t>(pool_.total(), limits_.max_batch_total_tokens / options_.block_size));
}

int Scheduler::Budget() const { return std::min(limits_.max_batch_prefill_tokens, options_.max_tokens_per_forward); }

absl::Status Scheduler::Check(const SchedulerOptions& options, const Limits& limits) {
  const int64_t capacity = static_cast<int64_t>(options.blocks) * options.block_size;
  if (limits.max_concurrent_requests < 1)
    return absl::FailedPreconditionError("max_concurrent_requests must be at least 1");
  if (limits.max_batch_prefill_tokens < 1 || limits.max_batch_prefill_tokens > options.max_tokens_per_forward) {
    return absl::FailedPreconditionError(
        absl::StrCat("max_batch_prefill_tokens must be between 1 and ", options.max_tokens_per_forward,
                     ", the workspace allocated at start, but is ", limits.max_batch_prefill_tokens,
                     ": restart with a larger MAX_BATCH_PREFILL_TOKENS"));
  }
  if (limits.max_batch_total_tokens < 0 || limits.max_batch_total_tokens > capacity) {
    return absl::FailedPreconditionError(
        absl::StrCat("max_batch_total_tokens must be at most the KV cache's capacity of ", capacity, " tokens, but is ",
                     limits.max_batch_total_tokens));
  }
  if (limits.max_batch_total_tokens > 0 && limits.max_batch_total_tokens < options.block_size) {
    return absl::FailedPreconditionError(
        absl::StrCat("max_batch_total_tokens must be at least one block of ", options.block_size));
  }
  if (limits.max_batch_size < 0) return absl::FailedPreconditionError("max_batch_size must not be negative");
  return absl::OkStatus();
}

absl::Status Scheduler::Submit(uint64_t id, std::vector<int32_t> prompt, int max_new_tokens, bool prompt_logits) {
  if (prompt.empty() || max_new_tokens < 1)
    return absl::InvalidArgumentError("needs a prompt token and max_new_tokens >= 1");
  const int64_t total = static_cast<int64_t>(prompt.size()) + max_new_tokens;
  if (BlocksFor(total) > pool_.total()) {
    return absl::OutOfRangeError(absl::StrCat("needs ", total, " KV tokens, but the cache holds ",
                                              static_cast<int64_t>(pool_.total()) * options_.block_size));
  }
  waiting_.push_back(std::make_unique<Sequence>(id, ++arrivals_, std::move(prompt), max_new_tokens, pool_));
  if (prompt_logits) waiting_.back()->logits_until = waiting_.back()->tokens.size();
  return absl::OkStatus();
}

bool Scheduler::Cancel(uint64_t id) {
  const auto has_id = [id](const SequencePtr& s) { return s->id == id; };
  return std::erase_if(running_, has_id) + std::erase_if(waiting_, has_id) > 0;
}

absl::Status Scheduler::Reconfigure(const Limits& limits, uint64_t generation) {
  if (absl::Status status = Check(options_, limits); !status.ok()) return status;
  const int before = growth_ceiling_;
  limits_ = limits;
  generation_ = generation;
  growth_ceiling_ = std::max(before, CeilingBlocks());
  return absl::OkStatus();
}

void Scheduler::Preempt(Sequence& victim) {
  ++preemptions_;
  victim.computed = 0;
  victim.lease.Release();
  const auto at =
      std::find_if(running_.begin(), running_.end(), [&](const SequencePtr& s) { return s.get() == &victim; });
  SequencePtr moved = std::move(*at);
  running_.erase(at);
  const auto place =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const SequencePtr& s) { return s->arrival > moved->arrival; });
  waiting_.insert(place, std::move(moved));
}

// The sequence with the most computed tokens is never the victim while others run, so it always finishes: no livelock.
bool Scheduler::GrowFor(Sequence& sequence, int64_t tokens) {
  if (BlocksFor(tokens) <= sequence.lease.size()) return true;
  const int64_t wanted = (tokens + options_.lease_tokens - 1) / options_.lease_tokens * options_.lease_tokens;
  int more = BlocksFor(std::min<int64_t>(wanted, sequence.final_size)) - sequence.lease.size();
  for (;;) {
    const bool alone = running_.size() == 1;
    const int ceiling = alone ? pool_.total() : growth_ceiling_;
    if (pool_.used() + more <= ceiling && sequence.lease.Grow(more)) return true;
    const int least = BlocksFor(tokens) - sequence.lease.size();
    if (more > least) {
      more = least;
      continue;
    }
    Sequence* victim = nullptr;  // never one that is already in this step
    for (const SequencePtr& s : running_) {
      if (!s->planned && (victim == nullptr || s->computed <= victim->computed)) victim = s.get();
    }
    const bool self = victim == &sequence;
    Preempt(*victim);
    if (self) return false;
  }
}

bool Scheduler::Admit() {
  if (waiting_.empty()) return false;
  const int most = limits_.max_batch_size > 0 ? std::min(limits_.max_batch_size, Budget()) : Budget();
  if (static_cast<int>(running_.size()) >= most) return false;
  Sequence& next = *waiting_.front();
  const int64_t known = static_cast<int64_t>(next.tokens.size()) + 1;
  const int64_t rounded = (known + options_.lease_tokens - 1) / options_.lease_tokens * options_.lease_tokens;
  const int64_t tokens = options_.full_reservation ? next.final_size : std::min<int64_t>(rounded, next.final_size);
  const int blocks = BlocksFor(tokens);
  int ceiling = pool_.total();  // one sequence may always run
  if (!running_.empty()) {
    ceiling = CeilingBlocks();
    if (!options_.full_reservation) ceiling -= static_cast<int>(ceiling * options_.watermark);
  }
  if (pool_.used() + blocks > ceiling || !next.lease.Grow(blocks)) return false;
  running_.push_back(std::move(waiting_.front()));
  waiting_.pop_front();
  std::sort(running_.begin(), running_.end(),
            [](const SequencePtr& a, const SequencePtr& b) { return a->arrival < b->arrival; });
  return true;
}

void Scheduler::AddItem(Sequence& sequence, int count, Step& step) {
  const bool last = count == sequence.remaining();
  step.ids.push_back(sequence.id);
  step.items.push_back({.tokens = std::span(sequence.tokens).subspan(sequence.computed, count),
                        .first_position = sequence.computed,
                        .blocks = sequence.lease.blocks(),
                        .wants_logits = last,
                        .every_token = sequence.computed < static_cast<int>(sequence.logits_until)});
  step.tokens += count;
  if (sequence.remaining() > 1) step.prompt_tokens += count;
  sequence.planned = true;
}

Step Scheduler::Plan() {
  Step step;
  const uint64_t preempted_before = preemptions_;
  if (pool_.used() <= CeilingBlocks()) growth_ceiling_ = CeilingBlocks();
  for (const SequencePtr& s : running_) s->planned = false;
  std::vector<Sequence*> decoding;
  for (const SequencePtr& s : running_) {
    if (s->remaining() == 1) decoding.push_back(s.get());
  }
  // Those that have computed most go first: who runs out of blocks later in the list is preempted, never who is in the step.
  std::stable_sort(decoding.begin(), decoding.end(),
                   [](Sequence* a, Sequence* b) { return a->computed > b->computed; });
  for (Sequence* s : decoding) {
    const bool still_running =
        std::any_of(running_.begin(), running_.end(), [s](const SequencePtr& r) { return r.get() == s; });
    if (still_running && GrowFor(*s, static_cast<int64_t>(s->tokens.size()))) AddItem(*s, 1, step);
  }
  const auto prefill = [&] {
    for (const SequencePtr& s : running_) {
      if (step.tokens >= Budget()) return;
      if (!s->planned && s->lease.size() >= BlocksFor(static_cast<int64_t>(s->tokens.size()))) {
        AddItem(*s, std::min(s->remaining(), Budget() - step.tokens), step);
      }
    }
  };
  prefill();
  while (step.tokens < Budget() && preemptions_ == preempted_before && Admit()) {
    prefill();
    ++step.admitted;
  }
  return step;
}

std::vector<Finished> Scheduler::Commit(const Step& step, std::span<const Sampled> sampled) {
  std::vector<Finished> finished;
  size_t next = 0;
  for (size_t i = 0; i < step.items.size(); ++i) {
    const auto at =
        std::find_if(running_.begin(), running_.end(), [&](const SequencePtr& s) { return s->id == step.ids[i]; });
    Sequence& sequence = **at;
    sequence.computed += static_cast<int>(step.items[i].tokens.size());
    // Given once: not again after a preemption.
    if (sequence.computed >= static_cast<int>(sequence.logits_until)) sequence.logits_until = 0;
    if (!step.items[i].wants_logits) continue;
    const Sampled& sample = sampled[next++];
    sequence.tokens.push_back(sample.token);
    const bool full = sequence.tokens.size() >= sequence.final_size;
    if (!sample.end && !full) continue;
    finished.push_back({sequence.id, sample.end ? SequenceEnd::kEndToken : SequenceEnd::kLength});
    running_.erase(at);
  }
  return finished;
}

SchedulerStats Scheduler::stats() const {
  return {.running = static_cast<int>(running_.size()),
          .waiting = static_cast<int>(waiting_.size()),
          .leased_tokens = static_cast<int64_t>(pool_.used()) * options_.block_size,
          .capacity_tokens = static_cast<int64_t>(pool_.total()) * options_.block_size,
          .preemptions = preemptions_};
}

}  // namespace patella::engine
