// The ramp's state machine. Private to the ramp; one file per part:
//   ramp.cc  events and phases    ramp_streams.cc  starting and counting streams    ramp_warm_up.cc
//   ramp_levels.cc  the way up    ramp_return.cc   the return leg and the end
#pragma once

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "lib/science/ramp.h"
#include "lib/science/ramp_log.h"

namespace patella::science {

class Ramp::Machine {
 public:
  explicit Machine(const RampConfig& config);

  std::vector<ProbeAction> Begin(double now_s);
  std::vector<ProbeAction> OnTokens(int id, int tokens, double now_s);
  std::vector<ProbeAction> OnEnd(int id, bool ok, double now_s);
  std::vector<ProbeAction> OnTick(double now_s);
  bool done() const { return phase_ == Phase::kDone; }
  ProbeProgress progress() const;

  absl::Status status_;
  RampResult result_;

 private:
  enum class Phase { kWarmUp, kSettle, kMeasure, kReplace, kDone };
  struct Wave {
    double begun_s = 0, seconds = 0;
  };

  std::vector<ProbeAction> Take() { return std::exchange(actions_, {}); }
  void Advance(double now_s);
  double PassFraction(double now_s) const;
  void Finish(double now_s);

  void StartWave(double now_s);
  void EndWave(double now_s);
  bool Stationary(double now_s) const;

  void BeginPass(double now_s);
  void GrowTo(int concurrency, double now_s);
  void Fill(double now_s);
  void Settle(double now_s);
  void Measure(double now_s);
  void Replace(double now_s);
  void EndLevel(double now_s);
  int NextLevel(int concurrency, double now_s);
  bool FarEnough(const RampResult& so_far);
  int Aim(const RampResult& so_far, int concurrency) const;
  int StopClimbing(const char* reason);

  void BeginReturnLeg(double now_s);
  void ReturnTo(int level, double now_s);
  void EndReturnLevel(double now_s);
  double Moved() const;
  void EndPass(double now_s);

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
  std::vector<Wave> waves_;
  double wave_begun_s_ = 0, prefill_guess_s_ = 0, gap_guess_s_ = 0;
  int64_t prompt_tokens_ = 0, output_tokens_ = 0;
  double last_gap_ms_ = 0;
  double fraction_ = 0;
  int queue_cap_ = 0;
};

}  // namespace patella::science
