#include "lib/science/closed_loop.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/science/statistics.h"

namespace patella::science {
namespace {

constexpr int kBatches = 8;             // of equal time, for the interval of the throughput
constexpr int kEnoughOfAnAnswer = 64;   // tokens: a mean gap over so many is as good as one over a long answer
constexpr int kLeastGapsPerWave = 128;  // of an answer: longer ones need not be seen from end to end before a verdict

struct Stream {
  int prompt_tokens = 0, max_output_tokens = 0;
  bool first_wave = false;  // aged
  bool whole = false;       // seen from its start on, in a warmed loop
  double started_s = 0, last_s = 0;
  int tokens = 0;
  double from_s = 0;    // from here on gaps count
  int from_tokens = 0;  // 0: not begun
};

struct Arrived {
  double at_s;
  int tokens;
};

double MsOf(const RequestSample& request, LatencyMetric metric) {
  switch (metric) {
    case LatencyMetric::kTimePerOutputToken:
      return request.time_per_output_token_ms;
    case LatencyMetric::kTimeToFirstToken:
      return request.ttft_ms;
    case LatencyMetric::kEndToEnd:
      return request.end_to_end_ms;
  }
  return 0;
}

std::vector<double> Values(const ClosedLoopResult& result, LatencyMetric metric) {
  std::vector<double> values;
  for (const RequestSample& request : result.requests) {
    const double ms = MsOf(request, metric);
    if (ms > 0) values.push_back(ms);
  }
  return values;
}

int Violations(const ClosedLoopResult& result, const Target& target) {
  int violations = 0;
  for (const double ms : Values(result, target.metric)) violations += ms > target.target_ms;
  return violations;
}

}  // namespace

class ClosedLoop::Machine {
 public:
  explicit Machine(const ClosedLoopConfig& config) : config_(config) {
    config_.concurrency = std::max(1, config.concurrency);
    config_.output_tokens = std::max(1, config.output_tokens);
    config_.input_tokens = std::max(1, config.input_tokens);
    result_.concurrency = config_.concurrency;
  }

  std::vector<ProbeAction> Begin(double now_s) {
    begun_s_ = now_s;
    not_started_ = config_.concurrency;
    for (int i = 0; i < config_.concurrency; ++i) StartAged(i, now_s);
    return Take();
  }

  std::vector<ProbeAction> OnTokens(int id, int tokens, double now_s) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || done_) return {};
    Stream& stream = found->second;
    const bool first = stream.tokens == 0;
    stream.tokens += tokens;
    stream.last_s = now_s;
    if (first) {
      stream.from_s = now_s;
      stream.from_tokens = tokens;
    }
    result_.output_tokens += tokens;
    if (warm_) arrived_.push_back({now_s, tokens});
    if (first && stream.first_wave) --not_started_;
    if (!warm_ && config_.warm_up == WarmUp::kStarted && not_started_ == 0) BeginMeasuring(now_s);
    return Take();
  }

  std::vector<ProbeAction> OnEnd(int id, bool ok, double now_s) {
    const auto found = streams_.find(id);
    if (found == streams_.end() || done_) return {};
    const Stream stream = found->second;
    streams_.erase(found);
    ++ended_;
    if (stream.first_wave && stream.tokens == 0) --not_started_;
    if (ok && stream.tokens > 0) {
      failures_in_a_row_ = 0;
      if (warm_) Record(stream, /*ended=*/true, ended_samples_);
    } else {
      ++result_.failed;
      if (++failures_in_a_row_ > 5) {
        status_ = absl::UnavailableError(
            absl::StrCat(failures_in_a_row_, " streams in a row failed; the engine may have stopped"));
        return Finish(now_s);
      }
    }
    if (!warm_ && (config_.warm_up == WarmUp::kWave ? ended_ >= config_.concurrency : not_started_ == 0))
      BeginMeasuring(now_s);
    if (warm_ && Enough(now_s)) return Finish(now_s);
    StartWhole(now_s);
    return Take();
  }

  std::vector<ProbeAction> OnTick(double now_s) {
    if (done_) return {};
    if (now_s - begun_s_ > config_.max_seconds) return Finish(now_s);
    if (warm_ && config_.warm_up == WarmUp::kStarted && Enough(now_s)) return Finish(now_s);
    return Take();
  }

  ProbeProgress progress() const {
    const double waves = static_cast<double>(ended_) / config_.concurrency;
    return {.phase = config_.phase,
            .concurrency = static_cast<int>(streams_.size()),
            .gap_ms = result_.mean_time_per_output_token_ms,
            .fraction = done_ ? 1.0 : std::min(0.99, waves / (1 + config_.max_waves))};
  }

  bool done_ = false;
  absl::Status status_;
  ClosedLoopResult result_;

 private:
  std::vector<ProbeAction> Take() { return std::exchange(actions_, {}); }

  void Start(Stream stream, double now_s) {
    stream.started_s = now_s;
    result_.prompt_tokens += stream.prompt_tokens;
    actions_.push_back(StartStream{next_id_, stream.prompt_tokens, stream.max_output_tokens});
    streams_.emplace(next_id_++, stream);
  }

  void StartAged(int index, double now_s) {
    const double u = (index + 0.5) / config_.concurrency;
    const int done = std::min(config_.output_tokens - 1, static_cast<int>(u * config_.output_tokens));
    int prompt = config_.input_tokens + done;
    const int left = config_.output_tokens - done;
    if (config_.max_total_tokens > 0) prompt = std::clamp(config_.max_total_tokens - left, 1, prompt);
    Start({.prompt_tokens = prompt, .max_output_tokens = left, .first_wave = true}, now_s);
  }

  void StartWhole(double now_s) {
    const bool whole = warm_ || config_.warm_up == WarmUp::kWave;
    Start({.prompt_tokens = config_.input_tokens, .max_output_tokens = config_.output_tokens, .whole = whole}, now_s);
  }

  void BeginMeasuring(double now_s) {
    warm_ = true;
    measuring_since_s_ = now_s;
    result_.warm_up_seconds = now_s - begun_s_;
    // After a wave those that run now began in a warmed loop too: leaving them out would wait another wave.
    for (auto& [id, stream] : streams_) {
      if (stream.whole || stream.tokens == 0) continue;
      stream.from_s = stream.last_s;
      stream.from_tokens = stream.tokens;
    }
  }

  // What was seen of a stream, if it says something.
  void Record(const Stream& stream, bool ended, std::vector<RequestSample>& samples) const {
    if (config_.warm_up == WarmUp::kWave && !stream.whole) return;
    RequestSample sample{.started_s = stream.started_s};
    // A whole stream counts from its first token on.
    if (stream.whole && stream.tokens > 0) sample.ttft_ms = 1000 * (stream.from_s - stream.started_s);
    const int gaps = stream.tokens - stream.from_tokens;
    const bool whole = stream.whole && ended;
    if (gaps > 0 && (whole || gaps >= std::min(config_.output_tokens / 2, kEnoughOfAnAnswer))) {
      sample.time_per_output_token_ms = 1000 * (stream.last_s - stream.from_s) / gaps;
    }
    if (whole) {
      sample.end_to_end_ms = 1000 * (stream.last_s - stream.started_s);
      sample.output_tokens = stream.tokens;
    }
    if (sample.ttft_ms > 0 || sample.time_per_output_token_ms > 0) samples.push_back(sample);
  }

  // The ended ones, and where no wave was waited for those that still run.
  void Collect() {
    result_.requests = ended_samples_;
    if (config_.warm_up == WarmUp::kStarted) {
      for (const auto& [id, stream] : streams_) Record(stream, /*ended=*/false, result_.requests);
    }
    result_.mean_time_per_output_token_ms = Mean(Values(result_, LatencyMetric::kTimePerOutputToken));
  }

  void SetThroughput(double now_s) {
    const double seconds = now_s - measuring_since_s_;
    result_.seconds = seconds;
    if (seconds <= 0) return;
    std::vector<double> batches(kBatches, 0.0);
    double tokens = 0;
    for (const Arrived& arrived : arrived_) {
      const double at = (arrived.at_s - measuring_since_s_) / seconds;
      batches[static_cast<size_t>(std::clamp(static_cast<int>(at * kBatches), 0, kBatches - 1))] += arrived.tokens;
      tokens += arrived.tokens;
    }
    result_.tokens_per_second = tokens / seconds;
    const double mean = Mean(batches);
    if (mean > 0)
      result_.half_width_ratio = Student975(kBatches - 1) * StandardDeviation(batches) / std::sqrt(kBatches) / mean;
  }

  bool Enough(double now_s) {
    Collect();
    const int seen = static_cast<int>(result_.requests.size());
    double tokens = 0;
    for (const Arrived& arrived : arrived_) tokens += arrived.tokens;
    const double wave =
        static_cast<double>(config_.concurrency) *
        (config_.warm_up == WarmUp::kWave ? config_.output_tokens : std::min(config_.output_tokens, kLeastGapsPerWave));
    if (seen < std::max(config_.min_requests, config_.concurrency)) return false;
    if (config_.warm_up == WarmUp::kStarted && tokens < wave) return false;
    const bool all_waves = config_.warm_up == WarmUp::kWave || tokens >= config_.max_waves * wave;
    if (all_waves && seen >= config_.max_waves * config_.concurrency) return true;
    SetThroughput(now_s);
    if (!(result_.half_width_ratio > 0) || result_.half_width_ratio > config_.half_width) return false;
    return std::all_of(config_.targets.begin(), config_.targets.end(), [&](const Target& target) {
      const int n = static_cast<int>(Values(result_, target.metric).size());
      return SequentialVerdict(Violations(result_, target), n, target.quantile) != Verdict::kUndecided;
    });
  }

  std::vector<ProbeAction> Finish(double now_s) {
    done_ = true;
    Collect();
    if (warm_) SetThroughput(now_s);
    double ms = 0, tokens = 0;
    int whole = 0;
    for (const RequestSample& request : result_.requests) {
      ms += request.end_to_end_ms;
      tokens += request.output_tokens;
      whole += request.output_tokens > 0;
    }
    const bool by_little =
        config_.warm_up == WarmUp::kStarted && whole < config_.concurrency && result_.tokens_per_second > 0;
    if (by_little) {
      result_.mean_ms_per_token = 1000.0 * config_.concurrency / result_.tokens_per_second;
    } else if (tokens > 0) {
      result_.mean_ms_per_token = ms / tokens;
    }
    result_.little_ratio = result_.tokens_per_second * result_.mean_ms_per_token / (1000.0 * config_.concurrency);
    if (status_.ok() && result_.requests.empty()) {
      status_ =
          absl::FailedPreconditionError(absl::StrCat("no request ended within ", static_cast<int>(config_.max_seconds),
                                                     " s at concurrency ", config_.concurrency));
    }
    for (const auto& [id, stream] : streams_) actions_.push_back(CancelStream{id});
    return Take();
  }

  ClosedLoopConfig config_;
  std::vector<ProbeAction> actions_;
  std::map<int, Stream> streams_;
  std::vector<Arrived> arrived_;
  std::vector<RequestSample> ended_samples_;
  int not_started_ = 0;  // of the first wave
  int next_id_ = 1;
  int ended_ = 0;
  int failures_in_a_row_ = 0;
  bool warm_ = false;
  double begun_s_ = 0, measuring_since_s_ = 0;
};

double ClosedLoopResult::QuantileMs(LatencyMetric metric, double quantile) const {
  return Quantile(Values(*this, metric), quantile);
}

double ClosedLoopResult::MeanMs(LatencyMetric metric) const { return Mean(Values(*this, metric)); }

CurvePoint ClosedLoopResult::Point() const {
  return {concurrency, mean_ms_per_token, tokens_per_second, static_cast<int>(requests.size())};
}

Verdict Judge(const ClosedLoopResult& result, const std::vector<Target>& targets) {
  Verdict all = Verdict::kPass;
  for (const Target& target : targets) {
    const int n = static_cast<int>(Values(result, target.metric).size());
    const Verdict one = FinalVerdict(Violations(result, target), n, target.quantile);
    if (one == Verdict::kFail) return one;
    if (one == Verdict::kUndecided) all = one;
  }
  return all;
}

ClosedLoop::ClosedLoop(const ClosedLoopConfig& config) : machine_(std::make_unique<Machine>(config)) {}
ClosedLoop::~ClosedLoop() = default;
std::vector<ProbeAction> ClosedLoop::Begin(double now_s) { return machine_->Begin(now_s); }
std::vector<ProbeAction> ClosedLoop::OnTokens(int stream, int tokens, double now_s) {
  return machine_->OnTokens(stream, tokens, now_s);
}
std::vector<ProbeAction> ClosedLoop::OnEnd(int stream, bool ok, double now_s) {
  return machine_->OnEnd(stream, ok, now_s);
}
std::vector<ProbeAction> ClosedLoop::OnTick(double now_s) { return machine_->OnTick(now_s); }
bool ClosedLoop::done() const { return machine_->done_; }
ProbeProgress ClosedLoop::progress() const { return machine_->progress(); }

absl::StatusOr<ClosedLoopResult> ClosedLoop::Result() const {
  if (!machine_->status_.ok()) return machine_->status_;
  if (!done()) return absl::FailedPreconditionError("the closed loop is not done");
  return machine_->result_;
}

}  // namespace patella::science
