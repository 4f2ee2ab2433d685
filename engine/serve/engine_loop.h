// The engine thread: inbox → plan → forward → sample → commit → publish, one step after another.
//
// It owns the scheduler and all sequences. Submit, Cancel, SetLimits and Stats are thread-safe and never wait for a step.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/schedule/scheduler.h"
#include "engine/serve/sampler.h"
#include "lib/base/clock.h"

namespace patella::engine {

struct Job {
  uint64_t id = 0;  // unique
  std::vector<int32_t> prompt;
  int max_new_tokens = 1;
  wire::Sampling sampling;
  uint64_t seed = 0;
  bool ignore_eos = false;
  LogprobOptions logprobs;
};

enum class EventKind {
  kToken,
  kEndToken,
  kLength,
  kCancelled,
  kFailed
};  // all but kToken are terminal: exactly one a job

struct Event {
  uint64_t id = 0;
  EventKind kind = EventKind::kToken;
  bool has_token = false;
  int32_t token = 0;
  float logprob = 0;
  std::vector<TokenLogprob> top;
  std::vector<float> prompt_logprobs;  // with the first token, if asked for; NaN for the prompt's first
  TimePoint started{};                 // first planned
  std::string error;                   // kFailed
};

struct EngineStats {
  SchedulerStats schedule;
  int batch = 0;  // sequences of the last step
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;
  uint64_t generated_tokens = 0;
  double last_step_ms = 0;
};

// Where one step's time went.
struct StepReport {
  bool prefill = false;  // computed prompt tokens, decoding ones with them; else decoded alone
  bool ok = true;        // the forward pass
  int batch = 0;         // sequences in it
  int admitted = 0;      // of them: those that left the queue for it
  double plan_s = 0, forward_s = 0, sample_s = 0, commit_s = 0;
};

struct LimitsInForce {
  Limits limits;
  uint64_t generation = 1;
};

class EngineLoop {
 public:
  using Publish = std::function<void(std::vector<Event>)>;  // on the engine thread, once a step
  using IsEndToken = std::function<bool(int32_t)>;
  using Observe = std::function<void(const StepReport&)>;  // on the engine thread, once a step

  EngineLoop(Executor& executor, const SchedulerOptions& options, const Limits& limits, IsEndToken is_end,
             Publish publish);
  ~EngineLoop();  // ends after the step in progress

  // The largest prefill and the largest decode batch that this configuration allows, so that nothing later is slower or larger. Before Start.
  absl::Status WarmUp();
  void OnStep(Observe observe) { observe_ = std::move(observe); }  // before Start
  void Start();

  void Submit(Job job);
  void Cancel(uint64_t id);
  // Fields left 0 keep their value, those below 0 are without limit again. FailedPrecondition for what cannot be; Aborted if expected_generation is not 0 and not it.
  absl::StatusOr<LimitsInForce> SetLimits(const Limits& wanted, uint64_t expected_generation);
  LimitsInForce limits() const;
  EngineStats stats() const;
  Duration StepAge(
      TimePoint now) const;  // how long the forward pass in progress has run; zero between steps and while idle
  const SchedulerOptions& options() const { return options_; }

 private:
  struct Live {
    Job job;
    std::vector<int32_t> seen;  // kept only for the repetition penalty
    std::vector<float> prompt_logprobs;
    Sampler sampler;
    TimePoint started{};
  };

  void Run();
  bool TakeInbox(std::vector<Event>* events);  // waits while idle; false: stop
  void NoteStep(TimePoint began);
  void RunStep(std::vector<Event>* events);
  std::vector<Sampled> SampleStep(const Step& step, std::vector<Event>* events);
  void CommitStep(const Step& step, std::span<const Sampled> sampled, std::span<Event> tokens);
  void FailStep(const Step& step, const absl::Status& status, std::vector<Event>* events);
  Sampled SampleOne(uint64_t id, std::span<float> row, std::vector<Event>* events);
  void ReadPromptLogits(uint64_t id, const StepItem& item, std::span<const float> rows);

  Executor& executor_;
  const SchedulerOptions options_;
  const IsEndToken is_end_;
  const Publish publish_;
  Observe observe_;

  Scheduler scheduler_;                      // engine thread
  std::unordered_map<uint64_t, Live> live_;  // engine thread
  std::vector<float> logits_;                // engine thread

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Job> submitted_;
  std::vector<uint64_t> cancelled_;
  LimitsInForce limits_;
  EngineStats stats_;
  TimePoint step_began_{};
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace patella::engine
