// Leader election by a Lease, with client-go's semantics: at most one leader as long as clocks run at about the same
// rate.
//
// Whether a lease has expired is judged by when its record was last *seen* to change, on this machine's clock, never by
// times in it. A leader that could not renew for renew_deadline is one no more, though the lease runs on for others:
// the difference is the time for its last write to end. A Lease that somebody deletes is made anew by its holder; others
// wait for what it had left to run. LeaseMachine is pure (times and answers in, actions out);
// LeaderElector drives it over a Client with one thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/kube/client.h"
#include "lib/metrics/metrics.h"

namespace patella::kube {

// Counts while the machine is suspended too, unlike SteadyClock.
class BootClock final : public Clock {
 public:
  TimePoint Now() const override;
};

struct LeaseSettings {
  std::string namespace_name;
  std::string name;
  std::string identity;                                // unique to this process: pod name + "_" + random
  Duration duration = std::chrono::seconds(15);        // > renew_deadline
  Duration renew_deadline = std::chrono::seconds(10);  // > 1.2 · retry_period
  Duration retry_period = std::chrono::seconds(2);     // of the leader's renewals
  bool may_create = true;                              // false: the Lease is there already, and we may not create one
  // Followers watch the Lease instead of reading it every 1 to 2.2 retry periods: they ask less, and learn of a release
  // at once, where the others take up to 4.4 s with the defaults.
  bool watch = false;
  // For the times in records, which are for people, and to tell in the log when somebody sets it. Empty: the machine's.
  std::function<std::chrono::system_clock::time_point()> wall_time;
};
absl::Status CheckLeaseSettings(const LeaseSettings& settings);

struct LeaseRecord {
  std::string holder;  // "": nobody
  int duration_seconds = 0;
  std::string acquire_time, renew_time;  // RFC 3339 with microseconds, for people; "" if absent
  int transitions = 0;
  std::string resource_version;
  std::string json;  // the object they come from, so that a write keeps what we do not know; "" if it is to be created
  bool SameAs(const LeaseRecord& other) const;  // in all but resource_version and json
};
absl::StatusOr<LeaseRecord> ParseLease(const Object& object);
// The Lease to send; keeps labels and the like of record.json.
std::string LeaseJson(const LeaseSettings& settings, const LeaseRecord& record);

class LeaseMachine {
 public:
  LeaseMachine(LeaseSettings settings, uint64_t seed);

  struct Action {
    enum class Kind { kWait, kGet, kWrite } kind;
    TimePoint until{};   // kWait: then ask again (earlier if something was observed)
    LeaseRecord record;  // kWrite: create if json is empty, else update; times are filled in by the driver
  };
  // What to do now; for kGet and kWrite report the outcome with Answer before asking again.
  Action Next(TimePoint now);
  // Outcome of kGet (NotFound: there is none) or kWrite that was sent at `sent`.
  void Answer(TimePoint sent, TimePoint now, const absl::StatusOr<LeaseRecord>& outcome);
  // From a watch.
  void Observe(TimePoint now, const LeaseRecord& record);

  // Writing is allowed: we lead, and renewed less than renew_deadline ago.
  bool Leading(TimePoint now) const;
  TimePoint leading_until() const;                                // of the last renewal; the past if we never led
  const std::string& holder() const { return observed_.holder; }  // as last seen
  bool absent() const { return absent_; }                         // there was no Lease when last looked
  // When the present record expires, for kWait with a watch.
  TimePoint expires() const;
  // The record that gives the lease up; nullopt if it is not ours.
  std::optional<LeaseRecord> Release() const;

 private:
  enum class State { kRead, kWrite, kIdle };
  LeaseRecord MineFrom(const LeaseRecord& seen) const;
  Duration Jittered(Duration period);

  const LeaseSettings settings_;
  Random random_;
  LeaseRecord observed_;
  TimePoint observed_at_{};
  bool known_ = false;      // observed_ is from the server
  bool absent_ = false;     // there is no Lease
  bool read_first_ = true;  // before writing, read
  bool leading_ = false;
  TimePoint renewed_at_{};  // when the last successful renewal was *sent*
  TimePoint next_try_{};
  bool pending_write_ = false;
};

struct LeaderCallbacks {  // on the elector's thread; may be empty
  std::function<void()> on_started;
  // Lost, or released: guarded work must end at once. An operator ends its process.
  std::function<void(const std::string& why)> on_stopped;
  std::function<void(const std::string& holder)> on_new_leader;
  // The wall clock was set while we ran, by so much; the log has it already.
  std::function<void(Duration moved)> on_clock_set;
};

class LeaderElector {
 public:
  // `client` should be one of its own with call_timeout ≤ renew_deadline / 2, and without may_write. All outlive the
  // elector.
  LeaderElector(Client* client, LeaseSettings settings, const Clock& clock, LeaderCallbacks callbacks,
                metrics::Metrics* metrics = nullptr);
  ~LeaderElector();  // stops without releasing

  void Start();
  // Ends the thread. `release` gives the lease up so that another leads at once: only after all guarded work has ended.
  void Stop(bool release);

  bool IsLeader() const;  // and may write at this moment: the may_write of RestClientOptions
  std::string Holder() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// HOST_xxxxxxxx with a random end.
std::string MakeIdentity(std::string_view host);

}  // namespace patella::kube
