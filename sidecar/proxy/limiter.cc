#include "sidecar/proxy/limiter.h"

#include <algorithm>
#include <utility>

namespace patella::sidecar {

bool Limiter::Fits(const RequestCost& cost) const {
  if (budgets_.requests < 1) return false;
  if (admitted_.empty()) return true;
  if (cost.sequences > budgets_.requests - in_flight_) return false;
  if (budgets_.prompt_tokens > 0 && prompt_tokens_ > 0 && prompt_tokens_ + cost.prompt_tokens > budgets_.prompt_tokens)
    return false;
  return budgets_.kv_tokens == 0 || kv_tokens_ + cost.prompt_tokens + cost.output_tokens <= budgets_.kv_tokens;
}

void Limiter::Admit(Id id, const RequestCost& cost) {
  in_flight_ += cost.sequences;
  computing_ += cost.sequences;
  prompt_tokens_ += cost.prompt_tokens;
  kv_tokens_ += cost.prompt_tokens + cost.output_tokens;
  const double ms = budgets_.step_ms + budgets_.ms_per_prompt_token * static_cast<double>(prompt_tokens_);
  const TimePoint computed = cost.streamed ? TimePoint::max() : now_ + FromMilliseconds(ms);
  next_computed_ = std::min(next_computed_, computed);
  admitted_[id] = {cost, cost.prompt_tokens, cost.sequences, computed};
}

// Time passes: prompts that nothing is seen of are computed.
void Limiter::Pass(TimePoint now) {
  now_ = std::max(now_, now);
  if (now_ < next_computed_) return;
  next_computed_ = TimePoint::max();
  for (auto& [id, request] : admitted_) {
    if (request.sequences == 0) continue;
    if (request.computed > now_) {
      next_computed_ = std::min(next_computed_, request.computed);
      continue;
    }
    computing_ -= std::exchange(request.sequences, 0);
    prompt_tokens_ -= std::exchange(request.prompt_tokens, 0);
  }
}

Limiter::Id Limiter::Enter(RequestCost cost, TimePoint now, Decided decided) {
  Pass(now);
  const Id id = next_id_++;
  if (waiting_.empty() && Fits(cost)) {
    Admit(id, cost);
    decided(id, Verdict::kAdmitted);
  } else if (queued() < queue_options_.max_requests) {
    waiting_.push_back({id, cost, now, std::move(decided)});
  } else {
    decided(id, Verdict::kFull);
  }
  return id;
}

int64_t Limiter::PromptComputed(Id id) {
  const auto it = admitted_.find(id);
  if (it == admitted_.end() || it->second.sequences == 0) return 0;
  const int64_t tokens = it->second.prompt_tokens / it->second.sequences--;
  --computing_;
  it->second.prompt_tokens -= tokens;
  prompt_tokens_ -= tokens;
  AdmitWaiting();
  return tokens;
}

void Limiter::Leave(Id id) {
  if (const auto it = admitted_.find(id); it != admitted_.end()) {
    in_flight_ -= it->second.cost.sequences;
    computing_ -= it->second.sequences;
    prompt_tokens_ -= it->second.prompt_tokens;
    kv_tokens_ -= it->second.cost.prompt_tokens + it->second.cost.output_tokens;
    admitted_.erase(it);
  } else {
    std::erase_if(waiting_, [id](const Waiting& w) { return w.id == id; });
  }
  AdmitWaiting();
}

void Limiter::SetBudgets(Budgets budgets) {
  budgets_ = budgets;
  AdmitWaiting();
}

void Limiter::SetQueue(QueueOptions queue) { queue_options_ = queue; }

void Limiter::Tick(TimePoint now) {
  Pass(now);
  while (!waiting_.empty() && waiting_.front().since + queue_options_.max_wait <= now) {
    const Waiting late = std::move(waiting_.front());
    waiting_.pop_front();
    late.decided(late.id, Verdict::kTimedOut);
  }
  AdmitWaiting();
}

void Limiter::AdmitWaiting() {
  while (!waiting_.empty() && Fits(waiting_.front().cost)) {
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    Admit(next.id, next.cost);
    next.decided(next.id, Verdict::kAdmitted);
  }
}

}  // namespace patella::sidecar
