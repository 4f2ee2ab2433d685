#include "lib/loadgen/probe_runner.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>
#include <vector>

#include "lib/base/text.h"
#include "lib/loadgen/generation_call.h"
#include "lib/loadgen/prompts.h"

namespace patella::loadgen {
namespace {

constexpr int kFailuresThatMeanGone = 3;
constexpr int kRefusalsThatMeanFull = 3;
constexpr int kFirstPromptTokens = 48;
constexpr int kFirstOutputTokens = 2;
constexpr Duration kBetweenHealthChecks = std::chrono::milliseconds(200);
constexpr Duration kBetweenProgress = std::chrono::milliseconds(100);
constexpr double kLateTickMs = 50;        // our tick's 99th percentile; beyond it we could not keep up
constexpr double kBusyThreadShare = 0.7;  // CPU time of our own thread over wall time; likewise

double ThreadCpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

class Runner final : public ProbeRunner {
 public:
  Runner(http::Loop& loop, const adapters::EngineTarget& target, science::Probe& probe, ProbeOptions options,
         std::function<void(const ProbeOutcome&)> on_done)
      : loop_(loop),
        target_(target),
        probe_(probe),
        options_(std::move(options)),
        on_done_(std::move(on_done)),
        prompts_(options_.seed),
        client_(ClientFor(loop, target)),
        begun_(loop.Now()),
        last_byte_(begun_) {}

  ~Runner() override {
    *alive_ = false;
    for (auto& [id, stream] : streams_) stream.call->Abandon();
    if (first_request_) first_request_->Abandon();
  }

  void Begin() {
    cpu_at_start_ = ThreadCpuSeconds();
    last_tick_ = loop_.Now();
    tick_ = loop_.Every(options_.tick, [this] { OnTick(); });
    const Prompt prompt = prompts_.Make(kFirstPromptTokens);
    outcome_.prompt_tokens += kFirstPromptTokens;
    first_request_ = GenerationCall::Start(
        loop_, *client_, target_, {.prompt = prompt.text, .max_output_tokens = kFirstOutputTokens},
        {.on_tokens = [this](int tokens, TimePoint at) { CountTokens(tokens, at); },
         .on_end = [this, words = prompt.words](const CallResult& result) { OnFirstAnswer(words, result); }});
  }

 private:
  struct Stream {
    std::shared_ptr<GenerationCall> call;
    int words = 0;
    bool cancelled = false;
  };

  double NowSeconds() const { return Seconds(loop_.Now() - begun_); }

  void CountTokens(int tokens, TimePoint at) {
    outcome_.output_tokens += tokens;
    last_byte_ = at;
    failures_in_a_row_ = 0;
  }

  void OnFirstAnswer(int words, const CallResult& result) {
    first_request_.reset();
    if (!result.status.ok()) return Finish(result.status);
    prompts_.Observe(words, result.usage.prompt_tokens);
    began_ = true;
    Carry(probe_.Begin(NowSeconds()));
  }

  // Carries out what the probe asked for, then sees whether it is done.
  void Carry(const std::vector<science::ProbeAction>& actions) {
    for (const science::ProbeAction& action : actions) {
      if (finished_) return;
      if (const auto* start = std::get_if<science::StartStream>(&action)) StartStream(*start);
      if (const auto* cancel = std::get_if<science::CancelStream>(&action)) CancelStream(cancel->stream);
    }
    if (began_ && probe_.done()) Finish(absl::OkStatus());
  }

  void StartStream(const science::StartStream& start) {
    const Prompt prompt = prompts_.Make(start.prompt_tokens);
    outcome_.prompt_tokens += start.prompt_tokens;
    ++outcome_.streams;
    const int id = start.stream;
    if (streams_.empty()) last_byte_ = loop_.Now();
    Stream& stream = streams_[id];
    stream.words = prompt.words;
    stream.call = GenerationCall::Start(
        loop_, *client_, target_, {.prompt = prompt.text, .max_output_tokens = start.max_output_tokens},
        {.on_tokens = [this, id](int tokens, TimePoint at) { OnTokens(id, tokens, at); },
         .on_end = [this, id](const CallResult& result) { OnEnd(id, result); }});
  }

  void CancelStream(int id) {
    const auto found = streams_.find(id);
    if (found == streams_.end()) return;
    found->second.cancelled = true;
    found->second.call->Cancel();
  }

  void OnTokens(int id, int tokens, TimePoint at) {
    CountTokens(tokens, at);
    if (!finished_) Carry(probe_.OnTokens(id, tokens, Seconds(at - begun_)));
  }

  void OnEnd(int id, const CallResult& result) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || finished_) return;
    const Stream stream = std::move(found->second);
    streams_.erase(found);
    const bool ok = result.status.ok() || stream.cancelled;
    if (!ok) NoteFailure(result.status);
    if (finished_) return;
    if (result.usage.prompt_tokens > 0) prompts_.Observe(stream.words, result.usage.prompt_tokens);
    Carry(probe_.OnEnd(id, ok, NowSeconds()));
  }

  void NoteFailure(const absl::Status& status) {
    ++outcome_.failed_streams;
    last_failure_ = status;
    if (absl::IsResourceExhausted(status) && ++refusals_ >= kRefusalsThatMeanFull) return Finish(status);
    if (!absl::IsUnavailable(status)) return;
    if (++failures_in_a_row_ >= kFailuresThatMeanGone) return Finish(Gone());
    CheckHealthSoon();
  }

  absl::Status Gone() const {
    return absl::UnavailableError(StrCat("the engine at ", target_.host, ":", target_.port,
                                         " went away during the measurement (", last_failure_.message(), ")"));
  }

  // A single broken stream proves nothing; an engine that then answers nobody is gone.
  void CheckHealthSoon() {
    health_timer_ = loop_.After(kBetweenHealthChecks, [this] {
      http::Request request;
      request.target = StrCat(target_.path_prefix, adapters::EngineOf(target_.kind).health_path);
      client_->Start(std::move(request), {.on_head = [](const http::Response&) {},
                                          .on_data = [](std::string_view) {},
                                          .on_done =
                                              [this, alive = alive_](const absl::Status& status) {
                                                if (*alive) OnHealth(status);
                                              }});
    });
  }

  void OnHealth(const absl::Status& status) {
    if (finished_) return;
    if (status.ok()) {
      failures_in_a_row_ = 0;
    } else if (++failures_in_a_row_ >= kFailuresThatMeanGone) {
      Finish(Gone());
    } else {
      CheckHealthSoon();
    }
  }

  void OnTick() {
    const TimePoint now = loop_.Now();
    late_ms_.push_back(static_cast<float>(std::max(0.0, Milliseconds(now - last_tick_ - options_.tick))));
    last_tick_ = now;
    if (finished_) return;
    if (now - begun_ > options_.deadline) {
      return Finish(absl::DeadlineExceededError(
          StrCat("the measurement was not done after ", static_cast<int>(Seconds(options_.deadline)), " s")));
    }
    if (now - last_byte_ > options_.stall_timeout) {
      return Finish(absl::DeadlineExceededError(
          StrCat("no token came for ", static_cast<int>(Seconds(options_.stall_timeout)), " s: the engine hangs",
                 last_failure_.ok() ? "" : "; last failure: ", last_failure_.message())));
    }
    if (!began_) return;
    Carry(probe_.OnTick(NowSeconds()));
    if (!finished_ && options_.on_progress && now - last_progress_ >= kBetweenProgress) {
      last_progress_ = now;
      options_.on_progress(probe_.progress());
    }
  }

  void Finish(absl::Status status) {
    if (finished_) return;
    finished_ = true;
    outcome_.status = std::move(status);
    outcome_.seconds = NowSeconds();
    for (auto& [id, stream] : streams_) stream.call->Abandon();
    tick_.reset();
    health_timer_.reset();
    SelfCheck();
    if (options_.on_progress && outcome_.status.ok()) options_.on_progress(probe_.progress());
    loop_.Post([alive = alive_, this] {
      if (*alive) std::exchange(on_done_, nullptr)(outcome_);
    });
  }

  void SelfCheck() {
    if (!late_ms_.empty()) {
      const auto nth = late_ms_.begin() + static_cast<std::ptrdiff_t>(0.99 * static_cast<double>(late_ms_.size() - 1));
      std::nth_element(late_ms_.begin(), nth, late_ms_.end());
      outcome_.late_ms_p99 = *nth;
    }
    const double busy = (ThreadCpuSeconds() - cpu_at_start_) / std::max(1e-3, outcome_.seconds);
    outcome_.generator_bound = outcome_.late_ms_p99 > kLateTickMs || busy > kBusyThreadShare;
  }

  http::Loop& loop_;
  const adapters::EngineTarget target_;
  science::Probe& probe_;
  const ProbeOptions options_;
  std::function<void(const ProbeOutcome&)> on_done_;
  PromptMaker prompts_;
  std::unique_ptr<http::Client> client_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::shared_ptr<GenerationCall> first_request_;
  std::map<int, Stream> streams_;
  std::unique_ptr<http::Loop::Timer> tick_, health_timer_;
  TimePoint begun_, last_byte_, last_tick_{}, last_progress_{};
  std::vector<float> late_ms_;
  double cpu_at_start_ = 0;
  ProbeOutcome outcome_;
  absl::Status last_failure_;
  int failures_in_a_row_ = 0;
  int refusals_ = 0;
  bool began_ = false;
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<ProbeRunner> ProbeRunner::Start(http::Loop& loop, const adapters::EngineTarget& target,
                                                science::Probe& probe, ProbeOptions options,
                                                std::function<void(const ProbeOutcome&)> on_done) {
  auto runner = std::make_unique<Runner>(loop, target, probe, std::move(options), std::move(on_done));
  runner->Begin();
  return runner;
}

ProbeOutcome RunProbe(const adapters::EngineTarget& target, science::Probe& probe, ProbeOptions options) {
  http::Loop loop;
  ProbeOutcome outcome;
  std::unique_ptr<ProbeRunner> runner =
      ProbeRunner::Start(loop, target, probe, std::move(options), [&](const ProbeOutcome& result) {
        outcome = result;
        loop.Stop();
      });
  loop.Run();
  return outcome;
}

}  // namespace patella::loadgen
