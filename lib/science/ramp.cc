#include "lib/science/ramp.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/science/ramp_log.h"

namespace patella::science {
namespace {

constexpr int kWarmUpStreams = 4, kWarmUpTokens = 16, kWarmUpWaves = 3;
constexpr double kStationary = 0.93;  // a wave may not be faster than the two before it by more than 7 %
constexpr int kGaps = 12, kLowLevel = 4, kGapsLowLevel = 24;
constexpr double kMinWindow_s = 0.25;
constexpr int kReplacements = 2;
constexpr int kGapsBetween = 2;           // of every stream, from one arrival to the next
constexpr double kOvershoot = 1.1;        // the climb stops at this times the target
constexpr double kFalling = 0.97;         // throughput against the level before
constexpr double kVoid = 0.10;            // return leg against the way up
constexpr double kLeastGrowth = 1.35;
constexpr double kPatience_s = 3;         // least time for new streams to get going
constexpr double kQueued_s = 0.5;         // least time, and
constexpr int kQueuedGaps = 25;           // what the others must have got, to say that the engine lets no more in
constexpr int kMaxFailures = 5;
constexpr int kUnknownTotalTokens = 1024;  // what nearly every engine accepts for one request
constexpr double kGoldenShare = 0.6180339887498949;

// Ages of the first streams: 0.5, 0.12, 0.74, 0.35, … every prefix spreads evenly over (0, 1).
double Age(int index) {
  const double u = 0.5 + index * kGoldenShare;
  return u - std::floor(u);
}

}  // namespace

class Ramp::Machine {
 public:
  explicit Machine(const RampConfig& config) : config_(config) {
    config_.input_tokens = std::max(1, config.input_tokens);
    config_.output_tokens = std::max(2, config.output_tokens);
    config_.max_concurrency = std::max(1, config.max_concurrency);
  }

  std::vector<ProbeAction> Begin(double now_s) {
    begun_s_ = now_s;
    StartWave(now_s);
    return Take();
  }
  std::vector<ProbeAction> OnTokens(int id, int tokens, double now_s);
  std::vector<ProbeAction> OnEnd(int id, bool ok, double now_s);
  std::vector<ProbeAction> OnTick(double now_s) {
    Advance(now_s);
    return Take();
  }
  bool done() const { return phase_ == Phase::kDone; }
  ProbeProgress progress() const;

  absl::Status status_;
  RampResult result_;

 private:
  enum class Phase { kWarmUp, kSettle, kMeasure, kReplace, kDone };

  std::vector<ProbeAction> Take() { return std::exchange(actions_, {}); }
  void Advance(double now_s);

  void StartWave(double now_s);
  void EndWave(double now_s);
  void BeginPass(double now_s);
  void GrowTo(int concurrency, double now_s);
  void Fill(double now_s);
  void Settle(double now_s);
  void Measure(double now_s);
  void Replace(double now_s);
  void EndLevel(double now_s);
  int NextLevel(int concurrency, double now_s);
  void BeginReturnLeg(double now_s);
  void NextReturnLevel(double now_s);
  void EndPass(double now_s);
  void Finish(double now_s);

  void Start(int prompt_tokens, int output_tokens, double now_s);
  void StartAged(int index, double now_s);
  void StartFresh(double opened_s, double now_s);
  void Cancel(RampStream& stream);
  void CancelAll();
  int Live() const;
  int TokensToCome() const;
  int TotalTokens() const;
  bool EveryStreamHas(int tokens, double since_s) const;
  bool RunningHave(int tokens, double since_s) const;
  void CloseArrival(double now_s);
  double PassFraction(double now_s) const;

  RampConfig config_;
  Phase phase_ = Phase::kWarmUp;
  std::vector<ProbeAction> actions_;
  RampLog log_;
  std::map<int, size_t> by_id_;
  std::set<int> open_;  // started, and not yet ended: cancelled ones run on for a step or two
  int next_id_ = 1;
  int started_in_pass_ = 0;
  int failures_ = 0;
  double begun_s_ = 0, pass_begun_s_ = 0, phase_begun_s_ = 0;
  double vacant_since_s_ = -1;  // a place fell vacant and its successor has not started yet
  int open_arrival_ = -1;
  double last_arrival_closed_s_ = 0;
  int level_ = 0, level_arrivals_ = 0;
  bool returning_ = false;
  std::vector<int> return_levels_;
  std::vector<double> wave_seconds_;
  double wave_begun_s_ = 0, prefill_guess_s_ = 0, gap_guess_s_ = 0;
  int64_t prompt_tokens_ = 0, output_tokens_ = 0;
  double last_gap_ms_ = 0;
  double fraction_ = 0;
  int queue_cap_ = 0;
};

// --- Streams -------------------------------------------------------------------------------------------------------------------------

void Ramp::Machine::Start(int prompt_tokens, int output_tokens, double now_s) {
  RampStream stream;
  stream.id = next_id_++;
  stream.prompt_tokens = prompt_tokens;
  stream.max_output_tokens = output_tokens;
  stream.started_s = now_s;
  prompt_tokens_ += prompt_tokens;
  by_id_[stream.id] = log_.streams.size();
  open_.insert(stream.id);
  actions_.push_back(StartStream{stream.id, prompt_tokens, output_tokens});
  log_.streams.push_back(std::move(stream));
}

int Ramp::Machine::TotalTokens() const {
  if (config_.max_total_tokens > 0) return config_.max_total_tokens;
  return std::max(config_.input_tokens + config_.output_tokens, kUnknownTotalTokens);
}

// What a stream started now needs until the ramp ends, if it is never replaced.
int Ramp::Machine::TokensToCome() const {
  // Beside the gaps that are wanted, those that pass while the streams of the next level are prefilled between them.
  const double prefills = gap_guess_s_ > 0 ? 2 * level_ * prefill_guess_s_ / gap_guess_s_ : 0;
  int tokens = 60 + static_cast<int>(std::min(400.0, prefills));
  for (int n = level_; n <= config_.max_concurrency && n <= 64; n *= 2) tokens += n <= kLowLevel ? 2 * kGapsLowLevel : 2 * kGaps;
  return tokens;
}

void Ramp::Machine::StartAged(int index, double now_s) {
  const int need = std::min(TokensToCome(), TotalTokens() / 2);
  const int aged = config_.input_tokens + static_cast<int>(Age(index) * config_.output_tokens);
  const int prompt = std::clamp(aged, 1, std::max(1, TotalTokens() - need));
  Start(prompt, need, now_s);
}

// The successor of a stream that ended or was cancelled. The third arrival of a low level has another prompt length, so that what a token of
// prompt costs can be told from what an arrival costs.
void Ramp::Machine::StartFresh(double opened_s, double now_s) {
  const bool other_length = level_arrivals_ == kReplacements && config_.input_tokens >= 2;
  const int prompt = other_length ? std::max(1, config_.input_tokens / 2) : config_.input_tokens;
  const int room = std::max(1, TotalTokens() - prompt);
  RampArrival arrival{.stream = log_.streams.size(), .concurrency = level_, .opened_s = opened_s};
  if (open_arrival_ >= 0) {  // it overlaps with another: neither can be told apart
    log_.arrivals[static_cast<size_t>(open_arrival_)].usable = false;
    arrival.usable = false;
    arrival.opened_s = std::min(arrival.opened_s, log_.arrivals[static_cast<size_t>(open_arrival_)].opened_s);
    CloseArrival(now_s);
  }
  open_arrival_ = static_cast<int>(log_.arrivals.size());
  log_.arrivals.push_back(arrival);
  ++level_arrivals_;
  Start(prompt, std::min(TokensToCome(), room), now_s);
}

void Ramp::Machine::CloseArrival(double now_s) {
  log_.arrivals[static_cast<size_t>(open_arrival_)].closed_s = now_s;
  last_arrival_closed_s_ = now_s;
  open_arrival_ = -1;
}

void Ramp::Machine::Cancel(RampStream& stream) {
  stream.live = false;
  actions_.push_back(CancelStream{stream.id});
}

void Ramp::Machine::CancelAll() {
  for (RampStream& stream : log_.streams) {
    if (stream.live) Cancel(stream);
  }
}

int Ramp::Machine::Live() const {
  return static_cast<int>(std::count_if(log_.streams.begin(), log_.streams.end(), [](const RampStream& s) { return s.live; }));
}

// Every stream got at least `tokens` since then. (Its first event after that time opens the count.)
bool Ramp::Machine::EveryStreamHas(int tokens, double since_s) const {
  return RunningHave(tokens, since_s) &&
         std::none_of(log_.streams.begin(), log_.streams.end(), [](const RampStream& s) { return s.live && s.events.empty(); });
}

// The same for those that have got their first token.
bool Ramp::Machine::RunningHave(int tokens, double since_s) const {
  for (const RampStream& stream : log_.streams) {
    if (!stream.live || stream.events.empty()) continue;
    int before = -1;
    for (auto event = stream.events.rbegin(); event != stream.events.rend() && event->at_s >= since_s; ++event) before = event->tokens;
    if (before < 0 || stream.tokens() - before < tokens) return false;
  }
  return true;
}

// --- Events --------------------------------------------------------------------------------------------------------------------------

std::vector<ProbeAction> Ramp::Machine::OnTokens(int id, int tokens, double now_s) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || done()) return {};
  RampStream& stream = log_.streams[found->second];
  output_tokens_ += tokens;
  if (stream.live) stream.events.push_back({now_s, stream.tokens() + tokens});
  Advance(now_s);
  return Take();
}

std::vector<ProbeAction> Ramp::Machine::OnEnd(int id, bool ok, double now_s) {
  open_.erase(id);
  const auto found = by_id_.find(id);
  if (done()) return {};
  if (found == by_id_.end()) return OnTick(now_s);  // of a pass that was void
  RampStream& stream = log_.streams[found->second];
  const bool was_live = stream.live;
  const int prompt = stream.prompt_tokens, output = stream.max_output_tokens;
  stream.live = false;
  by_id_.erase(found);
  if (!ok && ++failures_ > kMaxFailures) {
    status_ = absl::UnavailableError(absl::StrCat(failures_, " streams failed during the ramp; the engine may have stopped"));
    Finish(now_s);
    return Take();
  }
  if (phase_ == Phase::kWarmUp) {
    if (!ok) Start(prompt, output, now_s);
  } else if (phase_ == Phase::kSettle) {
    Fill(now_s);
  } else if (vacant_since_s_ >= 0 && !was_live) {  // the one we cancelled
    StartFresh(std::exchange(vacant_since_s_, -1), now_s);
  } else if (was_live) {
    StartFresh(now_s, now_s);
  }
  Advance(now_s);
  return Take();
}

void Ramp::Machine::Advance(double now_s) {
  fraction_ = std::max(fraction_, PassFraction(now_s));
  switch (phase_) {
    case Phase::kWarmUp:
      if (Live() == 0) EndWave(now_s);
      break;
    case Phase::kSettle: Settle(now_s); break;
    case Phase::kMeasure: Measure(now_s); break;
    case Phase::kReplace: Replace(now_s); break;
    case Phase::kDone: break;
  }
}

double Ramp::Machine::PassFraction(double now_s) const {
  if (phase_ == Phase::kWarmUp) return std::min(0.25, 0.25 * (now_s - begun_s_) / std::max(1.0, config_.max_warm_up_seconds));
  return std::min(0.99, 0.25 + 0.75 * (now_s - pass_begun_s_) / std::max(1.0, config_.max_seconds));
}

ProbeProgress Ramp::Machine::progress() const {
  const char* phase = phase_ == Phase::kWarmUp ? "warm-up" : returning_ ? "return leg" : "ramp";
  return {.phase = phase, .concurrency = Live(), .gap_ms = last_gap_ms_, .fraction = done() ? 1.0 : fraction_};
}

// --- Warm-up -------------------------------------------------------------------------------------------------------------------------

void Ramp::Machine::StartWave(double now_s) {
  log_ = {};
  by_id_.clear();  // what still ends is of no interest
  wave_begun_s_ = now_s;
  const int output = std::min(kWarmUpTokens, std::max(2, TotalTokens() - config_.input_tokens));
  for (int i = 0; i < std::min(kWarmUpStreams, config_.max_concurrency); ++i) Start(config_.input_tokens, output, now_s);
}

void Ramp::Machine::EndWave(double now_s) {
  const GapEstimate gap = EstimateGap(log_, {.opened_s = wave_begun_s_, .closed_s = now_s});
  double first_s = 0;
  for (const RampStream& stream : log_.streams) {
    if (!stream.events.empty()) first_s = std::max(first_s, stream.events.front().at_s);
  }
  gap_guess_s_ = gap.mean_ms / 1000;
  last_gap_ms_ = gap.mean_ms;
  prefill_guess_s_ = std::max(1e-4, (first_s - wave_begun_s_) / std::max<size_t>(1, log_.streams.size()));
  wave_seconds_.push_back(now_s - wave_begun_s_);
  const size_t n = wave_seconds_.size();
  const bool stationary = n >= kWarmUpWaves && wave_seconds_[n - 1] > kStationary * wave_seconds_[n - 2] &&
                          wave_seconds_[n - 1] > kStationary * wave_seconds_[n - 3];
  const bool out_of_time = now_s - begun_s_ > config_.max_warm_up_seconds;
  if (out_of_time && !stationary && n >= kWarmUpWaves) result_.remark = "the engine was still getting faster when the warm-up ended";
  if (!stationary && !out_of_time) return StartWave(now_s);
  result_.warm_up_seconds = now_s - begun_s_;
  BeginPass(now_s);
}

// --- Levels --------------------------------------------------------------------------------------------------------------------------

void Ramp::Machine::BeginPass(double now_s) {
  log_ = {};
  by_id_.clear();  // what still ends is of no interest
  pass_begun_s_ = now_s;
  started_in_pass_ = 0;
  returning_ = false;
  queue_cap_ = 0;
  vacant_since_s_ = -1;
  open_arrival_ = -1;
  GrowTo(1, now_s);
}

void Ramp::Machine::GrowTo(int concurrency, double now_s) {
  level_ = concurrency;
  level_arrivals_ = 0;
  phase_ = Phase::kSettle;
  phase_begun_s_ = now_s;
  Fill(now_s);
}

// Starts what the level lacks, once all that were cancelled have left: never more than the level at once.
void Ramp::Machine::Fill(double now_s) {
  if (static_cast<int>(open_.size()) > Live()) return;
  for (int i = Live(); i < level_; ++i) StartAged(started_in_pass_++, now_s);
}

void Ramp::Machine::Settle(double now_s) {
  if (Live() < level_) {
    if (now_s - phase_begun_s_ > kPatience_s) open_.clear();  // whoever cancels has told us so, or never will
    return Fill(now_s);
  }
  if (EveryStreamHas(1, phase_begun_s_)) {
    phase_ = Phase::kMeasure;
    phase_begun_s_ = now_s;
    last_arrival_closed_s_ = now_s;
    log_.windows.push_back({.concurrency = level_, .opened_s = now_s, .returning = returning_});
    return;
  }
  // Prompts may be prefilled one after another: as long as now and then one gets going, all will.
  double progress_s = phase_begun_s_;
  int running = 0;
  for (const RampStream& stream : log_.streams) {
    if (!stream.live || stream.events.empty()) continue;
    ++running;
    progress_s = std::max(progress_s, stream.events.front().at_s);
  }
  const double waited_s = now_s - progress_s, usual_s = 10 * (prefill_guess_s_ + gap_guess_s_);
  const bool climbing = level_ > 1 && !returning_;
  if (climbing && running > 0 && running < level_ && waited_s > std::max(kQueued_s, usual_s) && RunningHave(kQueuedGaps, progress_s)) {
    queue_cap_ = running;
    result_.stopped_by = "engine queues";
    return BeginReturnLeg(now_s);
  }
  if (climbing && now_s - phase_begun_s_ > config_.max_seconds / 2) {
    result_.stopped_by = "time";
    return BeginReturnLeg(now_s);
  }
  if (waited_s < std::max(config_.max_seconds, usual_s)) return;
  status_ = absl::UnavailableError(absl::StrFormat("no token came within %.0f s of starting a stream", waited_s));
  Finish(now_s);
}

void Ramp::Machine::Measure(double now_s) {
  if (open_arrival_ >= 0) Replace(now_s);  // a stream ended by itself: the arrival closes there
  if (phase_ != Phase::kMeasure) return;
  const double longest = config_.max_seconds / 4;
  const int gaps = level_ <= kLowLevel ? kGapsLowLevel : kGaps;
  const bool enough = now_s - phase_begun_s_ >= kMinWindow_s && EveryStreamHas(gaps, phase_begun_s_);
  if (!enough && now_s - phase_begun_s_ < longest) return;
  if (returning_) return EndLevel(now_s);
  phase_ = Phase::kReplace;
  phase_begun_s_ = now_s;
}

void Ramp::Machine::Replace(double now_s) {
  if (open_arrival_ >= 0) {
    const RampArrival& arrival = log_.arrivals[static_cast<size_t>(open_arrival_)];
    const RampStream& newcomer = log_.streams[arrival.stream];
    const bool running = newcomer.events.size() >= 2 && EveryStreamHas(0, newcomer.events.front().at_s);
    const double waited = now_s - newcomer.started_s;
    if (!running && waited < std::max(kPatience_s, 10 * prefill_guess_s_)) return;
    if (!running) log_.arrivals[static_cast<size_t>(open_arrival_)].usable = false;
    CloseArrival(now_s);
  }
  if (phase_ != Phase::kReplace || vacant_since_s_ >= 0) return;
  const int wanted = kReplacements + (level_ <= kLowLevel ? 1 : 0);
  const bool out_of_time = now_s - phase_begun_s_ > config_.max_seconds / 4;
  if (!out_of_time && !EveryStreamHas(kGapsBetween, last_arrival_closed_s_)) return;
  if (out_of_time || level_arrivals_ >= wanted) return EndLevel(now_s);
  RampStream* oldest = nullptr;
  for (RampStream& stream : log_.streams) {
    if (stream.live && (oldest == nullptr || stream.started_s < oldest->started_s)) oldest = &stream;
  }
  if (oldest == nullptr) return;
  vacant_since_s_ = now_s;
  Cancel(*oldest);
}

void Ramp::Machine::EndLevel(double now_s) {
  log_.windows.back().closed_s = now_s;
  const GapEstimate gap = EstimateGap(log_, log_.windows.back());
  if (gap.tokens > 0) {
    last_gap_ms_ = gap.mean_ms;
    gap_guess_s_ = gap.mean_ms / 1000;
  }
  if (returning_) return NextReturnLevel(now_s);
  const int next = NextLevel(level_, now_s);
  if (next <= level_) return BeginReturnLeg(now_s);
  GrowTo(next, now_s);
}

// The next level, or 0 and the reason in stopped_by.
int Ramp::Machine::NextLevel(int concurrency, double now_s) {
  const auto stop = [this](const char* reason) {
    result_.stopped_by = reason;
    return 0;
  };
  if (concurrency >= config_.max_concurrency) return stop("ceiling");
  const double out = config_.output_tokens;
  int next = std::min(2 * concurrency, config_.max_concurrency);
  const absl::StatusOr<RampResult> so_far = EstimateRamp(log_, config_);
  double prefill_s = prefill_guess_s_;
  if (so_far.ok()) {
    const Curve& curve = so_far->time_per_output_token;
    const std::vector<CurvePoint>& points = so_far->end_to_end.points;
    if (curve.points.back().mean_ms_per_token > kOvershoot * config_.target_ms) return stop("target");
    if (points.back().tokens_per_second < kFalling * points[points.size() - 2].tokens_per_second) return stop("throughput falls");
    prefill_s = so_far->PrefillMs(concurrency) / 1000;
    if (std::isfinite(config_.target_ms)) {  // no farther beyond the target than is needed to have it inside
      const double reach = curve.ConcurrencyAt(1.15 * kOvershoot * config_.target_ms, next);
      next = std::clamp(static_cast<int>(std::ceil(reach)), std::min(next, static_cast<int>(std::ceil(kLeastGrowth * concurrency))), next);
    }
  }
  const auto seconds = [&](int n) {
    const double step_s = so_far.ok() ? so_far->StepMs(n) / 1000 : 2 * gap_guess_s_;
    return (n - concurrency) * prefill_s + (kGaps + 4 + kReplacements * (kGapsBetween + 3)) * step_s + kReplacements * prefill_s;
  };
  const double left = config_.max_seconds - (now_s - pass_begun_s_) - 2 * kMinWindow_s - 4 * prefill_s - 2 * kGapsLowLevel * gap_guess_s_ / 2;
  const int least = static_cast<int>(std::ceil(kLeastGrowth * concurrency));
  while (next > least && seconds(next) > left) --next;
  if (seconds(next) > left && concurrency >= 2) return stop("time");
  const double tokens = (next - concurrency) * (config_.input_tokens + out / 2) + next * (kGaps + 12.0) + 2.0 * config_.input_tokens;
  if (config_.max_tokens > 0 && concurrency >= 2 && prompt_tokens_ + output_tokens_ + tokens > config_.max_tokens) return stop("tokens");
  return next;
}

// --- Return leg and end --------------------------------------------------------------------------------------------------------------

void Ramp::Machine::BeginReturnLeg(double now_s) {
  CancelAll();
  returning_ = true;
  open_arrival_ = -1;
  vacant_since_s_ = -1;
  int top = 0;
  for (const RampWindow& window : log_.windows) {
    if (std::isfinite(window.closed_s)) top = std::max(top, window.concurrency);
  }
  return_levels_.clear();
  int quarter = 1;
  for (const RampWindow& window : log_.windows) {
    if (window.concurrency <= top / 4) quarter = window.concurrency;
  }
  if (quarter > 1) return_levels_.push_back(1);
  return_levels_.push_back(quarter);  // the last is visited first
  NextReturnLevel(now_s);
}

// The streams of a return level are new ones with the ages of those on the way up: contexts must be alike.
void Ramp::Machine::NextReturnLevel(double now_s) {
  CancelAll();
  if (return_levels_.empty()) return EndPass(now_s);
  started_in_pass_ = 0;
  const int level = return_levels_.back();
  return_levels_.pop_back();
  GrowTo(level, now_s);
}

void Ramp::Machine::EndPass(double now_s) {
  const absl::StatusOr<RampResult> estimate = EstimateRamp(log_, config_);
  if (!estimate.ok()) {
    status_ = estimate.status();
    return Finish(now_s);
  }
  RampResult pass = *estimate;
  double sum = 0;
  int compared = 0;
  for (const RampWindow& back : log_.windows) {
    for (const RampWindow& up : log_.windows) {
      if (!back.returning || up.returning || up.concurrency != back.concurrency) continue;
      const GapEstimate there = EstimateGap(log_, up), here = EstimateGap(log_, back);
      if (there.tokens == 0 || here.tokens == 0) continue;
      sum += std::log(here.mean_ms / there.mean_ms);
      ++compared;
    }
  }
  const double moved = compared > 0 ? std::expm1(sum / compared) : 0;
  pass.warm_up_seconds = result_.warm_up_seconds;
  pass.stopped_by = result_.stopped_by;
  pass.void_passes = result_.void_passes;
  pass.remark = result_.remark;
  if (queue_cap_ > 0) pass.fit.law.cap = pass.end_to_end.law.cap = pass.time_per_output_token.law.cap = queue_cap_;
  const bool is_void = std::abs(moved) > kVoid;
  if (is_void) {
    ++pass.void_passes;
    pass.remark = absl::StrFormat("the token gap at low load moved by %+.0f %% between the way up and the return leg", 100 * moved);
  }
  pass.high_confidence = !is_void && pass.fit.error_ratio < 0.10;
  if (!is_void && !pass.high_confidence) pass.remark = absl::StrFormat("the law misses the points by %.0f %%", 100 * pass.fit.error_ratio);
  result_ = pass;
  if (is_void && pass.void_passes <= config_.max_repeats) {
    CancelAll();
    return BeginPass(now_s);
  }
  if (is_void) status_ = absl::AbortedError(absl::StrCat("too noisy to tell: ", pass.remark, ", ", pass.void_passes, " times"));
  Finish(now_s);
}

void Ramp::Machine::Finish(double now_s) {
  CancelAll();
  phase_ = Phase::kDone;
  result_.seconds = now_s - begun_s_;
  result_.prompt_tokens = prompt_tokens_;
  result_.output_tokens = output_tokens_;
}

// --- The probe -----------------------------------------------------------------------------------------------------------------------

Ramp::Ramp(const RampConfig& config) : machine_(std::make_unique<Machine>(config)) {}
Ramp::~Ramp() = default;
std::vector<ProbeAction> Ramp::Begin(double now_s) { return machine_->Begin(now_s); }
std::vector<ProbeAction> Ramp::OnTokens(int stream, int tokens, double now_s) { return machine_->OnTokens(stream, tokens, now_s); }
std::vector<ProbeAction> Ramp::OnEnd(int stream, bool ok, double now_s) { return machine_->OnEnd(stream, ok, now_s); }
std::vector<ProbeAction> Ramp::OnTick(double now_s) { return machine_->OnTick(now_s); }
bool Ramp::done() const { return machine_->done(); }
ProbeProgress Ramp::progress() const { return machine_->progress(); }
const RampResult& Ramp::last_result() const { return machine_->result_; }

absl::StatusOr<RampResult> Ramp::Result() const {
  if (!machine_->status_.ok()) return machine_->status_;
  if (!done()) return absl::FailedPreconditionError("the ramp is not done");
  return machine_->result_;
}

}  // namespace patella::science
