// Keeps the limit right under live traffic. Two mechanisms on each finished stream that ran under (nearly) full load:
//
//   trim   ln K += γ·(α/3 − missed),  α = 1 − quantile: settles where a third of the allowed share of streams misses
//          its target. Near the knee throughput is flat and misses are steep: the last request at once buys 1 % of
//          tokens and costs several per cent of goodput
//   guard  the quantile of the last streams is above 1.05·target: K falls at once by up to a quarter, and no rise for
//          8 s
//
// Streams tell late: one of 64 tokens at 50 ms takes 3 s. So with a target for time per output token K rises only as
// far as the mean gap between tokens of the last 2.5 s, growing with K, leaves room for the quantile below the target.
//
// Only streams that were admitted after the last change judge it. Pure; times in seconds.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "sidecar/tuner/options.h"

namespace patella::sidecar {

struct Move {
  int limit = 0;  // 0: stay
  std::string reason, evidence;
};

class LiveTracker {
 public:
  LiveTracker(std::vector<TargetView> targets, int limit, int most);

  // `values[i]`: of targets[i]'s metric, ≤ 0 if the stream does not tell. `loaded`: it ran with ≥ 80 % of the limit in
  // flight.
  void OnStream(double admitted_s, const std::vector<double>& values, bool loaded, double now_s);
  // `tokens` of one stream that came `gap_ms` after the ones before.
  void OnTokens(int tokens, double gap_ms, int in_flight, double now_s);
  Move OnTick(int in_flight, double now_s);

  int limit() const { return limit_; }

 private:
  struct Sample {
    std::vector<double> values;
  };
  Move Apply(double wanted, const std::string& reason, const std::string& evidence, double now_s);
  Move Guard(double now_s);
  double PerTokenTargetMs() const;       // infinity without one
  double MeanGapMs(double now_s) const;  // of the last seconds under load; 0: too few tokens
  bool RoomFor(double limit, double now_s) const;

  const std::vector<TargetView> targets_;
  const int most_;
  int limit_;
  double wanted_;  // real-valued K
  double epoch_s_ = -1e300, hold_until_s_ = -1e300, last_rise_s_ = -1e300;
  struct GapBin {
    double begin_s = 0, gap_ms = 0;  // sum
    int tokens = 0;
  };
  std::deque<Sample> samples_;
  std::deque<GapBin> gaps_;
  int judged_ = 0;
};

}  // namespace patella::sidecar
