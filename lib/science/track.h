// Keeps a replica's limit right under live traffic. The calibrated curve keeps its shape; what moves is its level, what a
// typical request is like, and how far single requests stray from the mean:
//
//   step       a gap between two tokens is s·(f(n) + p·π)         n: decoding at once, π: prompt tokens computed in that step
//   s          level against the calibration: the gaps of the last seconds over Σ f(n) of their tokens + Σ p·n of the prompt tokens
//              among them, so waves of prompts are no change of speed; long before a finished stream could tell
//   model      T(K) = s·(f(K) + p·in·(K − 1)/out)         mean time per output token at K; in, out: means of live requests
//   spread     ln(measured / T at admission)      of the last finished streams, smoothed a little; drift during their lives is in it.
//              Requests that come in waves differ widely, yet none is far above T: a normal distribution would invent some
//   limit      the K with the most expected goodput, X(K)·P(every target holds), among those where each holds at its
//              quantile; below the calibrated limit only if a target asks for it, for X's small differences are noise
//   guard      always on, trusts no model: the quantile of the last streams above 1.05·target cuts K by up to a quarter
//
// A stream counts for spread and guard if the limit was full when it came. A crowd's first streams wait for each other's prompts, once, and
// the short ones among them end first: neither is what the limit will bring.
//
// Under saturation n is K and nothing new could be learned of the shape; so only s moves (knee.md of the research notes:
// recursive least squares forget the curve). A knee is flat in throughput and steep in misses, so the best K lies where
// fewer miss than would be allowed. Pure and deterministic; times in seconds. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "lib/science/calibration.h"
#include "lib/science/verdict.h"

namespace patella::science {

// A typical request, tokens.
struct Payload {
  double input_tokens = 256, output_tokens = 256;
  bool operator==(const Payload&) const = default;
};

// f and p: what one step of the server costs.
struct StepModel {
  struct Point {
    double streams = 1;
    double ms = 0;
  };
  std::vector<Point> points;       // f, ascending in both; at least one
  double prompt_ms_per_token = 0;  // p

  double StepMs(double streams) const;  // between the points linear, beyond them along the last two
  // What follows for `concurrency` requests of that kind at once: a metric's mean, and the output tokens per second of them all.
  double LatencyMs(LatencyMetric metric, double concurrency, const Payload& payload) const;
  double TokensPerSecond(double concurrency, const Payload& payload) const;
};

// From the ramp's levels, some of a fraction of a second, and the verifications, which are long and where the limit lies: through them
// as far as they agree with each other, else along their law (curve.h). `payload`: what was calibrated with.
StepModel StepModelOf(const CalibrationResult& calibration, const Payload& payload);
// Where only the law is known, as after a restart: arrivals are then in f.
StepModel StepModelOf(const Law& law);

struct TrackConfig {
  StepModel model;
  Payload payload;              // what the model was calibrated with
  std::vector<Target> targets;  // at least one, else the limit stays
  int believed = 1;             // the calibrated limit
  int start = 1;                // where to begin: `believed`, or less after a restart
  int most = 1;                 // by ceiling and KV cache
};

// One request that ended. Values ≤ 0: not known.
struct TrackedStream {
  double admitted_s = 0;
  double time_per_output_token_ms = 0, time_to_first_token_ms = 0, end_to_end_ms = 0;
  int output_tokens = 0;  // of each of its sequences
};

struct TrackMove {
  int limit = 0;       // 0: stay
  std::string reason;  // "track", "guard", "objectives" or "ceiling"
  std::string evidence;
};

// Prompts not yet computed: how many of their tokens may be admitted together so that a time-to-first-token target holds at its quantile, and
// when the last of some has its first token, step_ms + ms_per_token·(tokens of them all) after it was admitted.
struct PromptBudget {
  int64_t tokens = 0;  // 0: no bound
  double step_ms = 0, ms_per_token = 0;
};

class LimitTracker {
 public:
  explicit LimitTracker(TrackConfig config);

  // The first token of a sequence came. `decoding`: those whose first token had come before, which waited for it.
  void OnPromptComputed(int prompt_tokens, int decoding);
  // `tokens` of one sequence that came `gap_ms` after the ones before; in_flight: sequences in the engine, with those that do not yet decode.
  void OnTokens(int tokens, double gap_ms, int decoding, int in_flight);
  void OnStream(const TrackedStream& stream);
  TrackMove OnTick(int in_flight, double now_s);  // about once a second

  // The user wants something else: other targets or another ceiling, or expects other requests. What was learned of the server stays.
  TrackMove Retarget(std::vector<Target> targets, int most, std::optional<Payload> workload, double now_s);

  int limit() const { return limit_; }
  // Under the limit in force, fully used, enough streams have ended for the guard to judge, and every target held.
  bool Held() const;
  // (0.9·S − s·f(K))/(s·p) tokens, at least one typical prompt; no bound without a target S for the time to first token, or if p is not known.
  PromptBudget Prompts() const;
  double level() const { return level_; }  // s
  const Payload& payload() const { return payload_; }
  // A target's metric at its quantile over level·model.
  double QuantileRatio(size_t target) const;

 private:
  class Spread {  // of ln(measured / model)
   public:
    explicit Spread(double deviation);  // what a calibration is worth: a few streams, around the model
    void Add(double value, size_t memory);
    void Shift(double by);
    double mean() const { return mean_; }
    double ShareBelow(double value) const;
    double Quantile(double share) const;

   private:
    void Summarize();
    std::deque<double> values_;
    double mean_ = 0, deviation_ = 0, smoothing_ = 0;
  };
  struct Promise {  // what the model said at a tick, per target
    double at_s;
    bool full;  // as many in flight as the limit allows
    std::vector<double> ms;
  };
  double ModelMs(LatencyMetric metric, double concurrency) const;
  double Attainment(size_t target, double concurrency) const;  // share of requests within the target
  double LeastAttainment(double concurrency) const;
  bool Holds(double concurrency) const;  // every target at its quantile
  int Best() const;
  int Memory(int least) const;  // requests
  void FollowLevel();
  TrackMove Guard(double now_s);
  TrackMove MoveTo(int limit, const std::string& reason, std::string evidence, double now_s);

  TrackConfig config_;
  int limit_;
  double level_ = 1;
  Payload payload_;
  std::vector<Spread> spreads_;             // one a target
  std::vector<std::deque<double>> recent_;  // of the guard: values of streams admitted after the last move
  std::deque<Promise> promises_;
  double gap_ms_ = 0, expected_ms_ = 0, in_flight_tokens_ = 0;  // sums since the last tick
  int tokens_ = 0, peak_in_flight_ = 0;
  double past_gap_ms_ = 0, past_expected_ms_ = 0;  // of the ticks before, fading
  double epoch_s_ = -1e300, hold_until_s_ = -1e300, last_rise_s_ = -1e300;
};

}  // namespace patella::science
