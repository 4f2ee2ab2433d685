// The tuner: finds the limit before the replica is ready, then keeps it right while the world changes.
//
//   BOOT ─► WARMUP ─► RAMP ─► VERIFY ─► READY (track, guard)        these three are science::Calibration, one probe
//     └─ resumed limit, or a peer's ────► READY at 0.8 of it        anything that cannot succeed: DEGRADED, Exit
//                                                                   (in a cluster: tried again, later and later)
//
// Pure: it is told what happened and when, and returns what to do; no I/O, no clock, no threads. The same events give the same actions.
// Times are seconds on one monotonic clock. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "lib/science/probe.h"
#include "lib/science/track.h"
#include "sidecar/tuner/options.h"
#include "sidecar/tuner/view.h"

namespace patella::sidecar {

// Run this probe against the engine and report with OnProbeEnd. The tuner owns it; it lives until OnProbeEnd returns.
struct RunProbe {
  science::Probe* probe = nullptr;
  double deadline_s = 0;  // from now
};
struct SetLimit {
  int limit = 0;  // of the limiter; the engine's own follows
  science::PromptBudget prompts;
};
struct AdmitUsers {};  // calibration is over: ready
struct Save {};        // worth remembering over a restart
struct AskPeers {};    // what other replicas of this revision have learned; answer with OnPeers within seconds
struct Retry {         // the calibration failed, for the reason in the view; OnTick begins another then
  double delay_s = 0;
};
struct Exit {
  int code = 0;  // the view's error says why
};
using TunerAction = std::variant<RunProbe, SetLimit, AdmitUsers, Save, AskPeers, Retry, Exit>;
using TunerActions = std::vector<TunerAction>;

struct EngineFacts {
  int64_t kv_capacity_tokens = 0;   // 0: unknown
  int max_total_tokens = 0;         // of one request; 0: unknown
  int max_concurrent_requests = 0;  // the engine's own limit at start; 0: unknown
  bool limit_follows = false;       // that limit is ours to set: no ceiling
};

enum class ProbeEnd { kDone, kEngineGone, kTimedOut, kRefused, kGeneratorBound };

struct ProbeReport {
  ProbeEnd end = ProbeEnd::kDone;
  std::string why;  // in the engine's words, unless done
  long tokens = 0;  // generated and sent, of this probe
  double seconds = 0;
};

class Tuner {
 public:
  explicit Tuner(TunerOptions options);
  ~Tuner();
  Tuner(const Tuner&) = delete;
  Tuner& operator=(const Tuner&) = delete;

  void OnWaiting(std::string message);  // BOOT: for what
  TunerActions OnEngineReady(const EngineFacts& facts, double now_s);
  TunerActions OnEngineMissing(std::string why, double now_s);  // never became healthy
  TunerActions OnEngineLost(std::string why, double now_s);     // it was healthy
  // What peers of the same revision answered; may be none, and may be under other options.
  TunerActions OnPeers(const std::vector<Learned>& peers, double now_s);
  void OnProgress(const science::ProbeProgress& progress, double now_s);
  TunerActions OnProbeEnd(const ProbeReport& report, double now_s);

  // Live traffic, after AdmitUsers. in_flight: sequences of users' requests that hold a permit.
  void OnPromptComputed(int prompt_tokens, int decoding);  // of one sequence
  void OnTokens(int tokens, double gap_ms, int decoding, int in_flight);
  void OnStream(const science::TrackedStream& stream);
  TunerActions OnTick(int in_flight, double now_s);  // about once a second

  // The user wants something else, now: other targets, another knee, workload, ceiling or mode. In force at once, without a restart;
  // before calibration is over, as soon as it is. What was learned of the engine stays.
  TunerActions Follow(const TunerPolicy& policy, double now_s);

  const TunerView& view() const { return view_; }
  // As of now; without a time, which is the caller's.
  Learned learned() const;

 private:
  static constexpr double kNever = 1e300;
  struct Science;  // the calibration and the tracker in use

  TunerActions Start(double now_s);
  TunerActions Resume(const Learned& from, const std::string& reason, const std::string& source, double now_s);
  TunerActions BeginCalibration();
  void ShowOptions();
  void ShowCalibration();
  void ShowKnees();
  TunerActions BecomeReady(int limit, const std::string& confidence, const std::string& reason,
                           const std::string& evidence, double now_s);
  TunerActions Fail(int failure, std::string error, double now_s);
  TunerActions End(int failure, std::string error, double now_s);
  TunerActions Fail(const absl::Status& status, double now_s);
  void MoveLimit(int limit, const std::string& reason, const std::string& evidence, double now_s);
  science::PromptBudget Prompts();  // as of now; remembered
  void Track(int believed, int start);
  bool tracking() const;
  void FollowBounds();
  science::Payload Workload() const;  // as the options say
  bool MoveCurve();
  void FollowKnee(double now_s);
  SetLimit LimitInForce();
  TunerActions Enforce(double now_s);

  TunerOptions options_;
  TunerView view_;
  std::unique_ptr<Science> science_;
  EngineFacts facts_;
  science::Payload curve_payload_;  // of the requests that the view's points and law are of
  double calibration_began_s_ = 0;
  science::PromptBudget prompts_;
  int believed_ = 0;  // the limit that was learned; the one in force may be more cautious
  int failures_ = 0;
  double retry_at_s_ = kNever;
  bool asking_ = false;
  bool users_admitted_ = false;
  bool policy_changed_ = false;  // during calibration
};

}  // namespace patella::sidecar
