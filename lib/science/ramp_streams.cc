#include <algorithm>
#include <cmath>

#include "lib/science/ramp_machine.h"

namespace patella::science {
namespace {

constexpr int kLowLevel = 4, kGaps = 16, kGapsLowLevel = 32;
constexpr int kReplacements = 2;
constexpr int kUnknownTotalTokens = 1024;  // what nearly every engine accepts for one request
constexpr double kGoldenShare = 0.6180339887498949;

// Ages of the first streams: 0.5, 0.12, 0.74, 0.35, … every prefix spreads evenly over (0, 1).
double Age(int index) {
  const double u = 0.5 + index * kGoldenShare;
  return u - std::floor(u);
}

}  // namespace

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
  for (int n = level_; n <= config_.max_concurrency && n <= 64; n *= 2)
    tokens += n <= kLowLevel ? 2 * kGapsLowLevel : 2 * kGaps;
  return tokens;
}

void Ramp::Machine::StartAged(int index, double now_s) {
  const int need = std::min(TokensToCome(), TotalTokens() / 2);
  const int aged = config_.input_tokens + static_cast<int>(Age(index) * config_.output_tokens);
  const int prompt = std::clamp(aged, 1, std::max(1, TotalTokens() - need));
  Start(prompt, need, now_s);
}

// The successor of a stream that ended or was cancelled. The third arrival of a low level has another prompt length, so
// that what a token of prompt costs can be told from what an arrival costs.
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
  return static_cast<int>(
      std::count_if(log_.streams.begin(), log_.streams.end(), [](const RampStream& s) { return s.live; }));
}

// Every stream got at least `tokens` since then. (Its first event after that time opens the count.)
bool Ramp::Machine::EveryStreamHas(int tokens, double since_s) const {
  return RunningHave(tokens, since_s) && std::none_of(log_.streams.begin(), log_.streams.end(),
                                                      [](const RampStream& s) { return s.live && s.events.empty(); });
}

// The same for those that have got their first token.
bool Ramp::Machine::RunningHave(int tokens, double since_s) const {
  for (const RampStream& stream : log_.streams) {
    if (!stream.live || stream.events.empty()) continue;
    int before = -1;
    for (auto event = stream.events.rbegin(); event != stream.events.rend() && event->at_s >= since_s; ++event)
      before = event->tokens;
    if (before < 0 || stream.tokens() - before < tokens) return false;
  }
  return true;
}

}  // namespace patella::science
