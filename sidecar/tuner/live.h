// Keeps the limit right under live traffic. Two mechanisms on each finished stream that ran under (nearly) full load:
//
//   trim   ln K += γ·(α/3 − missed),  α = 1 − quantile: settles where a third of the allowed share of streams misses its target. Near the knee
//          throughput is flat and misses are steep: the last request at once buys 1 % of tokens and costs several per cent of goodput
//   guard  the quantile of the last streams is above 1.05·target: K falls at once by up to a quarter, and no rise for 8 s
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

  // `values[i]`: of targets[i]'s metric, ≤ 0 if the stream does not tell. `loaded`: it ran with ≥ 80 % of the limit in flight.
  void OnStream(double admitted_s, const std::vector<double>& values, bool loaded, double now_s);
  Move OnTick(int in_flight, double now_s);

  int limit() const { return limit_; }

 private:
  struct Sample {
    std::vector<double> values;
  };
  Move Apply(double wanted, const std::string& reason, const std::string& evidence, double now_s);
  Move Guard(double now_s);

  const std::vector<TargetView> targets_;
  const int most_;
  int limit_;
  double wanted_;  // real-valued K
  double epoch_s_ = -1e300, hold_until_s_ = -1e300, last_rise_s_ = -1e300;
  std::deque<Sample> samples_;
  int judged_ = 0;
};

}  // namespace patella::sidecar
