#include "lib/science/ramp.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/science/ramp_machine.h"

namespace patella::science {
namespace {

constexpr int kMaxFailures = 5;

}  // namespace

Ramp::Machine::Machine(const RampConfig& config) : config_(config) {
  config_.input_tokens = std::max(1, config.input_tokens);
  config_.output_tokens = std::max(2, config.output_tokens);
  config_.max_concurrency = std::max(1, config.max_concurrency);
}

std::vector<ProbeAction> Ramp::Machine::Begin(double now_s) {
  begun_s_ = now_s;
  StartWave(now_s);
  return Take();
}

std::vector<ProbeAction> Ramp::Machine::OnTick(double now_s) {
  Advance(now_s);
  return Take();
}

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
    status_ =
        absl::UnavailableError(absl::StrCat(failures_, " streams failed during the ramp; the engine may have stopped"));
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
    case Phase::kSettle:
      Settle(now_s);
      break;
    case Phase::kMeasure:
      Measure(now_s);
      break;
    case Phase::kReplace:
      Replace(now_s);
      break;
    case Phase::kDone:
      break;
  }
}

double Ramp::Machine::PassFraction(double now_s) const {
  if (phase_ == Phase::kWarmUp)
    return std::min(0.25, 0.25 * (now_s - begun_s_) / std::max(1.0, config_.max_warm_up_seconds));
  return std::min(0.99, 0.25 + 0.75 * (now_s - pass_begun_s_) / std::max(1.0, config_.max_seconds));
}

ProbeProgress Ramp::Machine::progress() const {
  const char* phase = phase_ == Phase::kWarmUp ? "warm-up" : returning_ ? "return leg" : "ramp";
  return {.phase = phase, .concurrency = Live(), .gap_ms = last_gap_ms_, .fraction = done() ? 1.0 : fraction_};
}

void Ramp::Machine::Finish(double now_s) {
  CancelAll();
  phase_ = Phase::kDone;
  result_.seconds = now_s - begun_s_;
  result_.prompt_tokens = prompt_tokens_;
  result_.output_tokens = output_tokens_;
}

Ramp::Ramp(const RampConfig& config) : machine_(std::make_unique<Machine>(config)) {}
Ramp::~Ramp() = default;
std::vector<ProbeAction> Ramp::Begin(double now_s) { return machine_->Begin(now_s); }
std::vector<ProbeAction> Ramp::OnTokens(int stream, int tokens, double now_s) {
  return machine_->OnTokens(stream, tokens, now_s);
}
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
