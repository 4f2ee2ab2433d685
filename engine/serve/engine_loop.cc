#include "engine/serve/engine_loop.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "lib/base/logging.h"

namespace patella::engine {

EngineLoop::EngineLoop(Executor& executor, const SchedulerOptions& options, const Limits& limits, IsEndToken is_end,
                       Publish publish)
    : executor_(executor),
      options_(options),
      is_end_(std::move(is_end)),
      publish_(std::move(publish)),
      scheduler_(options, limits),
      limits_{limits, 1} {
  stats_.schedule = scheduler_.stats();
}

EngineLoop::~EngineLoop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void EngineLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

absl::Status EngineLoop::WarmUp() {
  const Limits limits = limits_.limits;
  const int64_t most =
      std::min<int64_t>(limits.max_batch_prefill_tokens, static_cast<int64_t>(options_.blocks) * options_.block_size);
  std::vector<int32_t> tokens(static_cast<size_t>(most), 0);
  std::vector<int32_t> blocks((most + options_.block_size - 1) / options_.block_size);
  std::iota(blocks.begin(), blocks.end(), 0);
  const StepItem prefill{.tokens = tokens, .first_position = 0, .blocks = blocks, .wants_logits = true};
  if (absl::Status status = executor_.Forward(std::span(&prefill, 1), &logits_); !status.ok()) return status;
  // And as many single tokens as may decode together, each with logits, each in a block of its own.
  int64_t batch = std::min<int64_t>({most, options_.blocks, limits.max_concurrent_requests});
  if (limits.max_batch_size > 0) batch = std::min<int64_t>(batch, limits.max_batch_size);
  std::vector<int32_t> all(batch);
  std::iota(all.begin(), all.end(), 0);
  std::vector<StepItem> decode;
  for (int64_t i = 0; i < batch; ++i) {
    decode.push_back({.tokens = std::span(tokens).first(1),
                      .first_position = 0,
                      .blocks = std::span(all).subspan(i, 1),
                      .wants_logits = true});
  }
  return executor_.Forward(decode, &logits_);
}

void EngineLoop::Submit(Job job) {
  {
    std::lock_guard lock(mutex_);
    submitted_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void EngineLoop::Cancel(uint64_t id) {
  {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
  }
  wake_.notify_one();
}

absl::StatusOr<LimitsInForce> EngineLoop::SetLimits(const Limits& wanted, uint64_t expected_generation) {
  std::lock_guard lock(mutex_);
  if (expected_generation != 0 && expected_generation != limits_.generation) {
    return absl::AbortedError("the limits are at generation " + std::to_string(limits_.generation) + ", not " +
                              std::to_string(expected_generation) + ": read them again");
  }
  Limits merged = limits_.limits;
  if (wanted.max_concurrent_requests != 0) merged.max_concurrent_requests = wanted.max_concurrent_requests;
  if (wanted.max_batch_prefill_tokens != 0) merged.max_batch_prefill_tokens = wanted.max_batch_prefill_tokens;
  if (wanted.max_batch_total_tokens != 0)
    merged.max_batch_total_tokens = std::max<int64_t>(0, wanted.max_batch_total_tokens);
  if (wanted.max_batch_size != 0) merged.max_batch_size = std::max(0, wanted.max_batch_size);
  if (absl::Status status = Scheduler::Check(options_, merged); !status.ok()) return status;
  limits_ = {merged, limits_.generation + 1};
  return limits_;
}

LimitsInForce EngineLoop::limits() const {
  std::lock_guard lock(mutex_);
  return limits_;
}

Duration EngineLoop::StepAge(TimePoint now) const {
  std::lock_guard lock(mutex_);
  return step_began_ == TimePoint{} ? Duration::zero() : now - step_began_;
}

EngineStats EngineLoop::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

bool EngineLoop::TakeInbox(std::vector<Event>* events) {
  std::vector<Job> submitted;
  std::vector<uint64_t> cancelled;
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return stop_ || !submitted_.empty() || !cancelled_.empty() || !scheduler_.idle(); });
    if (stop_) return false;
    submitted.swap(submitted_);
    cancelled.swap(cancelled_);
    // Checked by SetLimits, so it cannot fail here.
    if (limits_.generation != scheduler_.generation()) (void)scheduler_.Reconfigure(limits_.limits, limits_.generation);
  }
  for (Job& job : submitted) {
    const uint64_t id = job.id;
    if (absl::Status status = scheduler_.Submit(id, job.prompt, job.max_new_tokens, job.logprobs.prompt);
        !status.ok()) {
      events->push_back({.id = id, .kind = EventKind::kFailed, .error = std::string(status.message())});
      continue;
    }
    Sampler sampler(job.sampling, job.seed, job.logprobs);
    std::vector<int32_t> seen;
    if (job.sampling.repetition_penalty != 1) seen = job.prompt;
    std::vector<float> prompt_logprobs;
    if (job.logprobs.prompt) prompt_logprobs.assign(job.prompt.size(), NAN);
    live_.emplace(id, Live{std::move(job), std::move(seen), std::move(prompt_logprobs), std::move(sampler)});
  }
  for (uint64_t id : cancelled) {
    if (live_.erase(id) == 0) continue;  // ended by itself in the meantime
    scheduler_.Cancel(id);
    events->push_back({.id = id, .kind = EventKind::kCancelled});
  }
  return true;
}

Sampled EngineLoop::SampleOne(uint64_t id, std::span<float> row, std::vector<Event>* events) {
  Live& live = live_.at(id);
  Choice choice = live.sampler.Sample(row, live.seen);
  if (live.job.sampling.repetition_penalty != 1) live.seen.push_back(choice.token);
  events->push_back({.id = id,
                     .has_token = true,
                     .token = choice.token,
                     .logprob = choice.logprob,
                     .top = std::move(choice.top),
                     .prompt_logprobs = std::exchange(live.prompt_logprobs, {}),
                     .started = live.started});
  return {choice.token, !live.job.ignore_eos && is_end_(choice.token)};
}

// Each row foretells the token after its own; the last one's is not the prompt's any more.
void EngineLoop::ReadPromptLogits(uint64_t id, const StepItem& item, std::span<const float> rows) {
  Live& live = live_.at(id);
  const std::vector<int32_t>& prompt = live.job.prompt;
  const size_t vocabulary = executor_.vocab_size();
  for (size_t i = 0; i < item.tokens.size(); ++i) {
    const size_t next = static_cast<size_t>(item.first_position) + i + 1;
    if (next >= prompt.size()) return;
    live.prompt_logprobs[next] = Logprob(rows.subspan(i * vocabulary, vocabulary), prompt[next]);
  }
}

void EngineLoop::FailStep(const Step& step, const absl::Status& status, std::vector<Event>* events) {
  LogError("forward_failed", {{"status", status}, {"requests", step.ids.size()}});
  for (uint64_t id : step.ids) {
    scheduler_.Cancel(id);
    live_.erase(id);
    events->push_back({.id = id, .kind = EventKind::kFailed, .error = std::string(status.message())});
  }
}

void EngineLoop::NoteStep(TimePoint began) {
  std::lock_guard lock(mutex_);
  step_began_ = began;
}

std::vector<Sampled> EngineLoop::SampleStep(const Step& step, std::vector<Event>* events) {
  std::vector<Sampled> sampled;
  const size_t vocabulary = executor_.vocab_size();
  std::span<float> left(logits_);
  for (size_t i = 0; i < step.items.size(); ++i) {
    const StepItem& item = step.items[i];
    const std::span<float> rows = left.first(LogitRows(item) * vocabulary);
    left = left.subspan(rows.size());
    if (item.every_token) ReadPromptLogits(step.ids[i], item, rows);
    if (item.wants_logits) sampled.push_back(SampleOne(step.ids[i], rows.last(vocabulary), events));
  }
  return sampled;
}

// `tokens`: the events of this step.
void EngineLoop::CommitStep(const Step& step, std::span<const Sampled> sampled, std::span<Event> tokens) {
  for (const Finished& finished : scheduler_.Commit(step, sampled)) {
    const auto event = std::find_if(tokens.begin(), tokens.end(), [&](const Event& e) { return e.id == finished.id; });
    event->kind = finished.end == SequenceEnd::kEndToken ? EventKind::kEndToken : EventKind::kLength;
    live_.erase(finished.id);
  }
}

void EngineLoop::RunStep(std::vector<Event>* events) {
  TimePoint at = std::chrono::steady_clock::now();
  const auto lap = [&at] {
    const TimePoint now = std::chrono::steady_clock::now();
    return Seconds(now - std::exchange(at, now));
  };
  const Step step = scheduler_.Plan();
  if (step.items.empty()) return;
  StepReport report{
      .prefill = step.prompt_tokens > 0, .batch = static_cast<int>(step.ids.size()), .admitted = step.admitted};
  report.plan_s = lap();
  for (uint64_t id : step.ids) {
    TimePoint& started = live_.at(id).started;
    if (started == TimePoint{}) started = at;
  }
  NoteStep(at);
  const absl::Status computed = executor_.Forward(step.items, &logits_);
  NoteStep({});
  report.forward_s = lap();
  report.ok = computed.ok();
  size_t generated = 0;
  if (computed.ok()) {
    const size_t first_event = events->size();
    const std::vector<Sampled> sampled = SampleStep(step, events);
    generated = sampled.size();
    report.sample_s = lap();
    CommitStep(step, sampled, std::span(*events).subspan(first_event));
    report.commit_s = lap();
  } else {
    FailStep(step, computed, events);
  }
  if (observe_) observe_(report);
  if (!computed.ok()) return;
  std::lock_guard lock(mutex_);
  ++stats_.steps;
  stats_.batch = report.batch;
  stats_.prompt_tokens += step.prompt_tokens;
  stats_.generated_tokens += generated;
  stats_.last_step_ms = (report.forward_s + report.sample_s + report.commit_s) * 1e3;
}

void EngineLoop::Run() {
  std::vector<Event> events;
  while (TakeInbox(&events)) {
    RunStep(&events);
    {
      std::lock_guard lock(mutex_);
      stats_.schedule = scheduler_.stats();
    }
    if (!events.empty()) publish_(std::exchange(events, {}));
  }
}

}  // namespace patella::engine
