#include <algorithm>

#include "lib/science/ramp_machine.h"

namespace patella::science {
namespace {

constexpr int kStreams = 2, kTokens = 16;
constexpr size_t kLeastWaves = 3;
constexpr double kLookBack_s = 1.2;   // a trend is looked for over at least so long, and the last waves
constexpr double kStationary = 0.95;  // the later half of them may not be faster than the earlier by more than 5 %

}  // namespace

void Ramp::Machine::StartWave(double now_s) {
  log_ = {};
  by_id_.clear();  // what still ends is of no interest
  wave_begun_s_ = now_s;
  const int output = std::min(kTokens, std::max(2, TotalTokens() - config_.input_tokens));
  for (int i = 0; i < std::min(kStreams, config_.max_concurrency); ++i) Start(config_.input_tokens, output, now_s);
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
  waves_.push_back({wave_begun_s_, now_s - wave_begun_s_});
  const bool stationary = Stationary(now_s);
  const bool out_of_time = now_s - begun_s_ > config_.max_warm_up_seconds;
  if (out_of_time && !stationary && waves_.size() >= kLeastWaves)
    result_.remark = "the engine was still getting faster when the warm-up ended";
  if (!stationary && !out_of_time) return StartWave(now_s);
  result_.warm_up_seconds = now_s - begun_s_;
  BeginPass(now_s);
}

// Healthy is not warm: kernels are compiled and caches filled in the first seconds, in some servers in the first
// twenty.
bool Ramp::Machine::Stationary(double now_s) const {
  const size_t n = waves_.size();
  if (n < kLeastWaves || now_s - waves_.front().begun_s < kLookBack_s) return false;
  size_t first = n - kLeastWaves;
  while (first > 0 && now_s - waves_[first].begun_s < kLookBack_s) --first;
  const size_t middle = first + (n - first) / 2;
  double earlier = 0, later = 0;
  for (size_t i = first; i < middle; ++i) earlier += waves_[i].seconds / static_cast<double>(middle - first);
  for (size_t i = middle; i < n; ++i) later += waves_[i].seconds / static_cast<double>(n - middle);
  return later > kStationary * earlier;
}

}  // namespace patella::science
