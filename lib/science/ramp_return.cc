#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/science/ramp_machine.h"

namespace patella::science {
namespace {

constexpr double kVoid = 0.10;  // return leg against the way up

}  // namespace

// Back to the largest level below a quarter of the top, then to a single request: what was measured first tells most about
// a server that was still warming up.
void Ramp::Machine::BeginReturnLeg(double now_s) {
  returning_ = true;
  open_arrival_ = -1;
  vacant_since_s_ = -1;
  int top = 0, quarter = 1;
  for (const RampWindow& window : log_.windows) {
    if (std::isfinite(window.closed_s)) top = std::max(top, window.concurrency);
  }
  for (const RampWindow& window : log_.windows) {
    if (window.concurrency <= top / 4) quarter = window.concurrency;
  }
  ReturnTo(quarter, now_s);
}

// The streams of a return level are new ones with the ages of those on the way up: contexts must be alike.
void Ramp::Machine::ReturnTo(int level, double now_s) {
  CancelAll();
  started_in_pass_ = 0;
  GrowTo(level, now_s);
}

void Ramp::Machine::EndReturnLevel(double now_s) {
  CancelAll();
  if (level_ > 1) return ReturnTo(1, now_s);
  EndPass(now_s);
}

// By how much the gaps of the return leg differ from those on the way up: 0.1 is 10 % slower.
double Ramp::Machine::Moved() const {
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
  return compared > 0 ? std::expm1(sum / compared) : 0;
}

void Ramp::Machine::EndPass(double now_s) {
  const absl::StatusOr<RampResult> estimate = EstimateRamp(log_, config_);
  if (!estimate.ok()) {
    status_ = estimate.status();
    return Finish(now_s);
  }
  RampResult pass = *estimate;
  const double moved = Moved();
  pass.warm_up_seconds = result_.warm_up_seconds;
  pass.stopped_by = result_.stopped_by;
  pass.void_passes = result_.void_passes;
  pass.remark = result_.remark;
  if (queue_cap_ > 0) pass.fit.law.cap = pass.end_to_end.law.cap = pass.time_per_output_token.law.cap = queue_cap_;
  const bool is_void = std::abs(moved) > kVoid;
  if (is_void) {
    ++pass.void_passes;
    pass.remark = absl::StrFormat("the token gap at low load moved by %+.0f %% between the way up and the return leg",
                                  100 * moved);
  }
  pass.high_confidence = !is_void && pass.fit.error_ratio < 0.10;
  if (!is_void && !pass.high_confidence) {
    pass.remark = absl::StrFormat("the law misses the points by %.0f %%", 100 * pass.fit.error_ratio);
  }
  result_ = pass;
  const double pass_s = now_s - pass_begun_s_;
  const bool time_left = now_s + pass_s - begun_s_ <= config_.max_total_seconds;
  if (is_void && time_left && pass.void_passes <= config_.max_repeats) {
    CancelAll();
    return BeginPass(now_s);
  }
  if (is_void) {
    status_ = absl::AbortedError(absl::StrCat("too noisy to tell: ", pass.remark, ", ", pass.void_passes, " times"));
  }
  Finish(now_s);
}

}  // namespace patella::science
