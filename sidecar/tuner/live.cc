#include "sidecar/tuner/live.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace patella::sidecar {
namespace {

constexpr double kGain = 0.02;
constexpr double kShareOfMisses = 1.0 / 3;  // see live.h
constexpr double kDeadBand = 0.07;
constexpr double kRise = 1.12, kRisePeriod_s = 5;
constexpr double kGuardExcess = 1.05, kGuardHold_s = 8;
constexpr size_t kGuardSamples = 25, kMaxSamples = 50;
constexpr double kDeepestCut = 0.75;
constexpr double kGapWindow_s = 2.5, kGapBin_s = 0.25;
constexpr int kGapTokens = 100;             // fewer tell nothing
constexpr double kLoaded = 0.8;             // share of the limit in flight from which gaps count
constexpr double kQuantileOverMean = 1.05;  // of a request's time per output token

double QuantileOf(std::vector<double> values, double quantile) {
  const double rank = std::ceil(quantile * static_cast<double>(values.size())) - 1;
  const auto at = static_cast<size_t>(std::clamp(rank, 0.0, static_cast<double>(values.size() - 1)));
  std::nth_element(values.begin(), values.begin() + static_cast<long>(at), values.end());
  return values[at];
}

}  // namespace

LiveTracker::LiveTracker(std::vector<TargetView> targets, int limit, int most)
    : targets_(std::move(targets)), most_(std::max(1, most)), limit_(limit), wanted_(limit) {}

void LiveTracker::OnStream(double admitted_s, const std::vector<double>& values, bool loaded, double) {
  if (!loaded || admitted_s < epoch_s_) return;
  double allowed = 1;
  bool missed = false, known = false;
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (values[i] <= 0) continue;
    known = true;
    allowed = std::min(allowed, kShareOfMisses * (1 - targets_[i].quantile));
    missed = missed || values[i] > targets_[i].target_ms;
  }
  if (!known) return;
  wanted_ *= std::exp(kGain * (allowed - (missed ? 1 : 0)));
  wanted_ = std::clamp(wanted_, 0.5, static_cast<double>(most_));
  samples_.push_back({values});
  if (samples_.size() > kMaxSamples) samples_.pop_front();
  ++judged_;
}

void LiveTracker::OnTokens(int tokens, double gap_ms, int in_flight, double now_s) {
  if (gap_ms <= 0 || tokens <= 0 || in_flight < kLoaded * limit_ || in_flight > limit_) return;  // or still draining
  if (gaps_.empty() || now_s >= gaps_.back().begin_s + kGapBin_s) gaps_.push_back({.begin_s = now_s});
  gaps_.back().gap_ms += gap_ms;
  gaps_.back().tokens += tokens;
  while (gaps_.front().begin_s < now_s - kGapWindow_s) gaps_.pop_front();
}

double LiveTracker::PerTokenTargetMs() const {
  double target_ms = std::numeric_limits<double>::infinity();
  for (const TargetView& t : targets_) {
    if (t.metric == "TimePerOutputToken") target_ms = std::min(target_ms, t.target_ms);
  }
  return target_ms;
}

double LiveTracker::MeanGapMs(double now_s) const {
  double gap_ms = 0;
  int tokens = 0;
  for (const GapBin& bin : gaps_) {
    if (bin.begin_s < now_s - kGapWindow_s) continue;
    gap_ms += bin.gap_ms;
    tokens += bin.tokens;
  }
  return tokens < kGapTokens ? 0 : gap_ms / tokens;
}

bool LiveTracker::RoomFor(double limit, double now_s) const {
  const double target_ms = PerTokenTargetMs();
  if (!std::isfinite(target_ms)) return true;
  const double gap_ms = MeanGapMs(now_s);
  return gap_ms > 0 && kQuantileOverMean * gap_ms * limit / limit_ <= target_ms;
}

Move LiveTracker::Guard(double now_s) {
  if (samples_.size() < kGuardSamples) return {};
  for (size_t i = 0; i < targets_.size(); ++i) {
    std::vector<double> values;
    for (const Sample& s : samples_) {
      if (s.values[i] > 0) values.push_back(s.values[i]);
    }
    const double seen = values.size() >= kGuardSamples ? QuantileOf(values, targets_[i].quantile) : 0;
    if (seen <= kGuardExcess * targets_[i].target_ms) continue;
    char evidence[160];
    std::snprintf(evidence, sizeof evidence, "%s p%.0f %.1f ms over %zu streams, target %.1f ms",
                  targets_[i].metric.c_str(), 100 * targets_[i].quantile, seen, values.size(), targets_[i].target_ms);
    hold_until_s_ = now_s + kGuardHold_s;
    return Apply(limit_ * std::max(kDeepestCut, targets_[i].target_ms / seen), "guard", evidence, now_s);
  }
  return {};
}

Move LiveTracker::Apply(double wanted, const std::string& reason, const std::string& evidence, double now_s) {
  const int next = std::clamp(static_cast<int>(wanted < limit_ ? std::floor(wanted) : wanted), 1, most_);
  if (next == limit_) return {};
  limit_ = next;
  wanted_ = reason == "trim" ? wanted : next;
  epoch_s_ = now_s;
  samples_.clear();
  gaps_.clear();
  return {next, reason, evidence};
}

Move LiveTracker::OnTick(int in_flight, double now_s) {
  if (targets_.empty()) return {};
  if (Move cut = Guard(now_s); cut.limit != 0) return cut;
  const double change = wanted_ / limit_ - 1;
  char evidence[120];
  std::snprintf(evidence, sizeof evidence, "%d streams under load judged; the share of misses asks for %.1f", judged_,
                wanted_);
  if (change < -kDeadBand && wanted_ <= limit_ - 1) return Apply(wanted_, "trim", evidence, now_s);
  if (change > kDeadBand && wanted_ >= limit_ + 1 && now_s >= hold_until_s_ && now_s >= last_rise_s_ + kRisePeriod_s &&
      in_flight >= 0.8 * limit_) {
    const double next = std::min(wanted_, std::max(limit_ + 1.0, std::floor(limit_ * kRise)));
    if (!RoomFor(std::floor(next), now_s)) {
      wanted_ = limit_;  // nothing missed so far, but the next request would
      return {};
    }
    last_rise_s_ = now_s;
    return Apply(next, "trim", evidence, now_s);
  }
  return {};
}

}  // namespace patella::sidecar
