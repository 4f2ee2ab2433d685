// Who may be in the engine at once: at most K sequences, and within budgets of prompt tokens and KV-cache tokens where they are known.
//
// What the engine works on are sequences: a request with 16 prompts, or for 16 answers, is 16 of them. Their count alone protects neither time
// to first token nor the KV cache, for a prompt of 16,000 tokens costs the same permit as one of 100; so a request is admitted while
//
//   Σ sequences ≤ K   and   Σ prompt tokens not yet computed ≤ P   and   Σ reserved KV tokens ≤ B,   its own included.
//
// A request that would exceed K, P or B all alone is admitted when nothing else is in flight: the engine then says what it thinks of it.
// Waiting requests keep their order; a newcomer never passes them. Lowering a limit cuts nobody off: it only holds up newcomers.
//
// Prompt tokens count until the first token has come. A client that does not stream shows none: of its prompt the limiter assumes that the
// engine computes what was admitted, in its order, at the speed it is told. Held until the answer ends the prompt would block P for as
// long as that decodes, and a target for others' first tokens would throttle such clients to a fraction of what the engine bears.
//
// KV tokens are reserved for the longest answer that a request allows, from its admission to its end. An engine that runs out of KV cache
// preempts, which costs everyone; clients that ask for more tokens than they use pay with fewer at once.
//
// Pure: time is a parameter. Not thread-safe: lives on the proxy's loop. `decided` callbacks may call back into the limiter.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "absl/container/flat_hash_map.h"
#include "lib/base/clock.h"

namespace patella::sidecar {

struct Budgets {
  int requests = 1;           // K, sequences, ≥ 0; 0 admits nobody
  int64_t prompt_tokens = 0;  // P: not yet computed, of all requests together; 0: unlimited
  int64_t kv_tokens = 0;      // B: prompt + output reserved by all requests; 0: unlimited
  // When a prompt is computed that nothing is seen of: step_ms + ms_per_prompt_token·Σ prompt tokens not yet computed.
  double step_ms = 0, ms_per_prompt_token = 0;
};

struct RequestCost {
  int64_t prompt_tokens = 0;  // of all its prompts
  int64_t output_tokens = 0;  // asked for at most, of all its sequences
  int sequences = 1;          // ≥ 1
  bool streamed = true;       // its first tokens will be seen
};

enum class Verdict {
  kAdmitted,
  kFull,      // over a budget, and no room to wait
  kTimedOut,  // waited as long as is allowed
};

struct QueueOptions {
  int max_requests = 0;  // 0: no queue
  Duration max_wait{0};  // from entering
};

class Limiter {
 public:
  using Id = uint64_t;
  using Decided = std::function<void(Id, Verdict)>;

  explicit Limiter(Budgets budgets, QueueOptions queue = {}) : budgets_(budgets), queue_options_(queue) {}

  // Runs `decided` exactly once unless the request leaves first: inside Enter if the answer is known at once, otherwise from Leave,
  // SetBudgets, PromptComputed or Tick. An admitted request holds its permit until Leave; a refused one is forgotten.
  Id Enter(RequestCost cost, TimePoint now, Decided decided);

  // The first token of one of its sequences came: that one's share of the prompt tokens no longer counts against P. Returns the share, 0 if
  // all were told before or the request is unknown.
  int64_t PromptComputed(Id id);

  // Gives the permit back, or gives up waiting. Unknown ids are ignored, so it may be called twice.
  void Leave(Id id);

  void SetBudgets(Budgets budgets);
  void SetQueue(QueueOptions queue);  // those who wait are not sent away, and wait no longer than is allowed now
  // Refuses those who have waited too long. Call every few milliseconds while queued() > 0, and before decoding().
  void Tick(TimePoint now);

  const Budgets& budgets() const { return budgets_; }
  int in_flight() const { return in_flight_; }              // sequences
  int decoding() const { return in_flight_ - computing_; }  // of them, those whose prompt is computed
  int queued() const { return static_cast<int>(waiting_.size()); }
  int64_t prompt_tokens() const { return prompt_tokens_; }
  int64_t kv_tokens() const { return kv_tokens_; }

 private:
  struct Admitted {
    RequestCost cost;
    int64_t prompt_tokens;  // not yet computed
    int sequences;          // without a first token
    TimePoint computed;     // when the prompts are, as far as can be told
  };
  struct Waiting {
    Id id;
    RequestCost cost;
    TimePoint since;
    Decided decided;
  };

  bool Fits(const RequestCost& cost) const;
  void Admit(Id id, const RequestCost& cost);
  void AdmitWaiting();
  void Pass(TimePoint now);

  Budgets budgets_;
  QueueOptions queue_options_;
  TimePoint now_{};  // the last one heard of
  TimePoint next_computed_ = TimePoint::max();
  Id next_id_ = 1;
  absl::flat_hash_map<Id, Admitted> admitted_;
  std::deque<Waiting> waiting_;
  int in_flight_ = 0;
  int computing_ = 0;  // of those in flight, whose prompt is not computed
  int64_t prompt_tokens_ = 0;
  int64_t kv_tokens_ = 0;
};

}  // namespace patella::sidecar
