#include "lib/loadgen/load.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "lib/base/random.h"
#include "lib/base/text.h"
#include "lib/loadgen/generation_call.h"
#include "lib/loadgen/prompts.h"

namespace patella::loadgen {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr int kFailuresThatMeanGone = 10;
constexpr double kGoldenRatio = 1.6180339887498949;
constexpr Duration kSweep = std::chrono::milliseconds(50);  // for time-outs, the end and progress

std::vector<double> Arrivals(double rate, double duration_s, size_t at_most, uint64_t seed) {
  Random random(seed);
  std::vector<double> times;
  double at = 0;
  while (times.size() < at_most && (at += random.Exponential(1 / rate)) < duration_s) times.push_back(at);
  return times;
}

class LoadImpl final : public Load {
 public:
  LoadImpl(http::Loop& loop, const adapters::EngineTarget& target, LoadOptions options,
           std::function<void(LoadResult)> on_done)
      : loop_(loop),
        target_(target),
        options_(std::move(options)),
        on_done_(std::move(on_done)),
        random_(options_.seed),
        prompts_(options_.seed ^ 0x9e3779b97f4a7c15u),
        client_(ClientFor(loop, target)),
        begun_(loop.Now()) {}

  ~LoadImpl() override {
    *alive_ = false;
    for (auto& [id, flight] : flights_) flight.call->Abandon();
  }

  void Begin() {
    sweep_ = loop_.Every(kSweep, [this] { OnSweep(); });
    if (options_.rate_per_second > 0) {
      BeginOpen();
    } else {
      BeginClosed();
    }
  }

 private:
  struct Flight {
    std::shared_ptr<GenerationCall> call;
    RequestRecord record;
    int words = 0;
    int client = -1;  // of a closed loop
    bool timed_out = false;
  };

  double Now() const { return Seconds(loop_.Now() - begun_); }
  bool open_loop() const { return options_.rate_per_second > 0; }

  void BeginOpen() {
    const double duration = options_.duration > Duration::zero() ? Seconds(options_.duration) : kNever;
    const size_t at_most =
        options_.max_requests > 0 ? static_cast<size_t>(options_.max_requests) : std::numeric_limits<size_t>::max();
    arrivals_ = Arrivals(options_.rate_per_second, duration, at_most, options_.seed);
    result_.window_end_s = duration < kNever ? duration : (arrivals_.empty() ? 0 : arrivals_.back());
    ScheduleNextArrival();
  }

  void ScheduleNextArrival() {
    if (finished_) return;
    if (next_arrival_ == arrivals_.size()) return FinishIfDrained();
    const double at = arrivals_[next_arrival_];
    arrival_timer_ = loop_.After(FromSeconds(std::max(0.0, at - Now())), [this, at] {
      ++next_arrival_;
      late_ms_.push_back(1e3 * std::max(0.0, Now() - at));
      Send(PickShape(), /*client=*/-1, at, /*measured=*/true, /*share=*/1);
      ScheduleNextArrival();
    });
  }

  // The first answers are of all lengths, so that the load is at once what it stays: not all begin and end together. By the golden ratio
  // the first few have evenly spread ones too, for a server may take only those.
  void BeginClosed() {
    result_.concurrency = options_.concurrency;
    warming_ = options_.concurrency;
    if (options_.warm_up > Duration::zero()) warm_timer_ = loop_.After(options_.warm_up, [this] { BeginMeasured(); });
    for (int i = 0; i < options_.concurrency; ++i) {
      Send(PickShape(), i, Now(), /*measured=*/false, 1 - std::fmod((i + 0.5) * kGoldenRatio, 1));
    }
  }

  int PickShape() {
    double total = 0;
    for (const RequestShape& shape : options_.shapes) total += shape.weight;
    double at = random_.Uniform(0, total);
    for (size_t i = 0; i < options_.shapes.size(); ++i) {
      if ((at -= options_.shapes[i].weight) <= 0) return static_cast<int>(i);
    }
    return static_cast<int>(options_.shapes.size()) - 1;
  }

  void Send(int shape_index, int client, double intended_s, bool measured, double share) {
    const RequestShape& shape = options_.shapes[static_cast<size_t>(shape_index)];
    const int id = next_id_++;
    const Prompt prompt = prompts_.Make(shape.input_tokens);
    Flight& flight = flights_[id];
    flight.words = prompt.words;
    flight.client = client;
    flight.record = {.intended_s = intended_s,
                     .sent_s = Now(),
                     .first_token_s = kNever,
                     .last_token_s = kNever,
                     .end_s = kNever,
                     .shape = shape_index,
                     .prompt_tokens = shape.input_tokens,
                     .measured = measured};
    const int output = std::max(1, static_cast<int>(std::lround(shape.output_tokens * share)));
    flight.call = GenerationCall::Start(
        loop_, *client_, target_, {.prompt = prompt.text, .max_output_tokens = output},
        {.on_tokens = [this, id](int tokens, TimePoint at) { OnTokens(id, tokens, Seconds(at - begun_)); },
         .on_end = [this, id](const CallResult& result) { OnEnd(id, result); }});
  }

  void OnTokens(int id, int tokens, double at) {
    RequestRecord& record = flights_[id].record;
    if (record.output_tokens == 0) record.first_token_s = at;
    record.last_token_s = at;
    record.output_tokens += tokens;
    result_.arrivals.push_back({at, tokens});
  }

  void OnEnd(int id, const CallResult& result) {
    auto node = flights_.extract(id);
    if (node.empty() || finished_) return;
    Flight flight = std::move(node.mapped());
    RequestRecord& record = flight.record;
    record.end_s = Now();
    record.http_status = result.http_status;
    record.code = flight.timed_out ? absl::StatusCode::kDeadlineExceeded : result.status.code();
    if (result.usage.prompt_tokens > 0) {
      record.prompt_tokens = result.usage.prompt_tokens;
      prompts_.Observe(flight.words, result.usage.prompt_tokens);
    }
    NoteFailure(result);
    if (flight.client >= 0) {
      OnClosedLoopEnd(flight);
    } else {
      result_.records.push_back(record);
      FinishIfDrained();
    }
  }

  void NoteFailure(const CallResult& result) {
    if (result.http_status != 0 && result.status.ok()) failures_in_a_row_ = 0;
    if (result.http_status == 0 && absl::IsUnavailable(result.status) &&
        ++failures_in_a_row_ >= kFailuresThatMeanGone) {
      Finish(absl::UnavailableError(StrCat("the server at ", target_.host, ":", target_.port,
                                           " went away during the load (", result.status.message(), ")")));
    }
    if (absl::IsFailedPrecondition(result.status)) Finish(result.status);  // it will refuse all the others too
  }

  void OnClosedLoopEnd(const Flight& flight) {
    if (finished_) return;
    result_.records.push_back(flight.record);
    if (warming_ > 0) {
      result_.records.back().measured = false;
      Warmed(flight.client);
    } else if (!flight.record.refused() ||
               flights_.empty()) {  // those who come again and again beside others at work are no result
      ++measured_;
    }
    if (EnoughMeasured()) return Finish(absl::OkStatus());
    SendNext(flight.client, flight.record.ok());
  }

  void Warmed(int client) {
    if (options_.warm_up > Duration::zero() || !warm_clients_.insert(client).second) return;
    if (--warming_ == 0) BeginMeasured();
  }

  void BeginMeasured() {
    warming_ = 0;
    result_.window_begin_s = Now();
  }

  void SendNext(int client, bool after_success) {
    if (after_success) return Send(PickShape(), client, Now(), /*measured=*/true, /*share=*/1);
    const Duration pause = FromSeconds(Seconds(options_.pause_when_refused) * random_.Uniform(0.5, 1.5));
    pauses_[client] =
        loop_.After(pause, [this, client] { Send(PickShape(), client, Now(), /*measured=*/true, /*share=*/1); });
  }

  bool EnoughMeasured() const {
    if (warming_ > 0) return false;
    if (options_.max_requests > 0 && measured_ >= options_.max_requests) return true;
    return options_.duration > Duration::zero() && Now() - result_.window_begin_s >= Seconds(options_.duration);
  }

  void OnSweep() {
    if (finished_) return;
    const double oldest = Now() - Seconds(options_.timeout);
    for (auto& [id, flight] : flights_) {
      if (flight.record.intended_s < oldest && !std::exchange(flight.timed_out, true)) flight.call->Cancel();
    }
    if (!open_loop() && EnoughMeasured()) return Finish(absl::OkStatus());
    if (options_.on_progress) options_.on_progress(Fraction());
  }

  double Fraction() const {
    if (open_loop())
      return arrivals_.empty() ? 1 : static_cast<double>(next_arrival_) / static_cast<double>(arrivals_.size());
    if (warming_ > 0) return 0;
    double fraction = 0;
    if (options_.max_requests > 0) fraction = static_cast<double>(measured_) / options_.max_requests;
    if (options_.duration > Duration::zero()) {
      fraction = std::max(fraction, (Now() - result_.window_begin_s) / Seconds(options_.duration));
    }
    return std::min(1.0, fraction);
  }

  void FinishIfDrained() {
    if (next_arrival_ == arrivals_.size() && flights_.empty()) Finish(absl::OkStatus());
  }

  void Finish(absl::Status status) {
    if (finished_) return;
    finished_ = true;
    result_.status = std::move(status);
    if (!open_loop()) result_.window_end_s = Now();
    for (auto& [id, flight] : flights_) flight.call->Abandon();
    sweep_.reset();
    pauses_.clear();
    warm_timer_.reset();
    if (!late_ms_.empty()) {
      std::sort(late_ms_.begin(), late_ms_.end());
      result_.late_ms_p99 = late_ms_[static_cast<size_t>(0.99 * static_cast<double>(late_ms_.size() - 1))];
    }
    loop_.Post([alive = alive_, this] {
      if (*alive) std::exchange(on_done_, nullptr)(std::move(result_));
    });
  }

  http::Loop& loop_;
  const adapters::EngineTarget target_;
  const LoadOptions options_;
  std::function<void(LoadResult)> on_done_;
  Random random_;
  PromptMaker prompts_;
  std::unique_ptr<http::Client> client_;
  const TimePoint begun_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<http::Loop::Timer> sweep_, arrival_timer_, warm_timer_;
  std::map<int, std::unique_ptr<http::Loop::Timer>> pauses_;
  std::map<int, Flight> flights_;
  std::vector<double> arrivals_, late_ms_;
  std::set<int> warm_clients_;
  LoadResult result_;
  size_t next_arrival_ = 0;
  int next_id_ = 0;
  int warming_ = 0;
  int measured_ = 0;
  int failures_in_a_row_ = 0;
  bool finished_ = false;
};

}  // namespace

double RequestRecord::tpot_ms() const {
  return output_tokens > 1 ? 1e3 * (last_token_s - first_token_s) / (output_tokens - 1) : 0;
}

std::vector<double> PoissonTimes(double rate_per_second, double duration_s, uint64_t seed) {
  return Arrivals(rate_per_second, duration_s, std::numeric_limits<size_t>::max(), seed);
}

std::unique_ptr<Load> Load::Start(http::Loop& loop, const adapters::EngineTarget& target, LoadOptions options,
                                  std::function<void(LoadResult)> on_done) {
  auto load = std::make_unique<LoadImpl>(loop, target, std::move(options), std::move(on_done));
  load->Begin();
  return load;
}

LoadResult RunLoad(const adapters::EngineTarget& target, LoadOptions options) {
  http::Loop loop;
  LoadResult result;
  std::unique_ptr<Load> load = Load::Start(loop, target, std::move(options), [&](LoadResult done) {
    result = std::move(done);
    loop.Stop();
  });
  loop.Run();
  return result;
}

}  // namespace patella::loadgen
