#include "lib/kube/lease.h"

#include <time.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "absl/strings/str_format.h"
#include "lib/base/logging.h"
#include "lib/base/rfc3339.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/reflector.h"

namespace patella::kube {
namespace {

using nlohmann::json;

constexpr double kJitter = 1.2;  // client-go's: waits of [p, p·(1 + 1.2)) before a try to acquire
constexpr TimePoint kNever{};    // of renewed_at_
constexpr Duration kClockJump = std::chrono::seconds(2);  // more than a time service slews between two renewals

std::string TextAt(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int NumberAt(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int>() : 0;
}

uint64_t Entropy() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

TimePoint BootClock::Now() const {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return TimePoint(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

absl::Status CheckLeaseSettings(const LeaseSettings& settings) {
  const auto wrong = [&](std::string_view what) {
    return absl::InvalidArgumentError(
        ToAbsl(StrCat("lease ", settings.namespace_name, "/", settings.name, ": ", what)));
  };
  if (settings.namespace_name.empty() || settings.name.empty()) return wrong("namespace and name must be given");
  if (settings.identity.empty()) return wrong("the identity must not be empty");
  if (settings.duration < std::chrono::seconds(1)) return wrong("the duration must be at least a second");
  if (settings.duration <= settings.renew_deadline) return wrong("the duration must exceed the renew deadline");
  if (Seconds(settings.renew_deadline) <= kJitter * Seconds(settings.retry_period))
    return wrong("the renew deadline must exceed 1.2 times the retry period");
  if (settings.retry_period <= Duration::zero()) return wrong("the retry period must be positive");
  return absl::OkStatus();
}

bool LeaseRecord::SameAs(const LeaseRecord& other) const {
  return holder == other.holder && duration_seconds == other.duration_seconds && acquire_time == other.acquire_time &&
         renew_time == other.renew_time && transitions == other.transitions;
}

absl::StatusOr<LeaseRecord> ParseLease(const Object& object) {
  const json parsed = json::parse(object.json(), nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return absl::InvalidArgumentError("a Lease that is no JSON object");
  LeaseRecord record{.resource_version = std::string(object.resource_version()), .json = std::string(object.json())};
  const auto spec = parsed.find("spec");
  if (spec == parsed.end() || !spec->is_object()) return record;
  record.holder = TextAt(*spec, "holderIdentity");
  record.duration_seconds = NumberAt(*spec, "leaseDurationSeconds");
  record.acquire_time = TextAt(*spec, "acquireTime");
  record.renew_time = TextAt(*spec, "renewTime");
  record.transitions = NumberAt(*spec, "leaseTransitions");
  return record;
}

std::string LeaseJson(const LeaseSettings& settings, const LeaseRecord& record) {
  json lease = json::parse(record.json, nullptr, /*allow_exceptions=*/false);
  if (!lease.is_object()) lease = json::object();
  lease["apiVersion"] = ApiVersionOf(kLeases);
  lease["kind"] = kLeases.kind;
  json& metadata = lease["metadata"];
  metadata["namespace"] = settings.namespace_name;
  metadata["name"] = settings.name;
  if (!record.resource_version.empty()) metadata["resourceVersion"] = record.resource_version;
  json& spec = lease["spec"];
  spec["holderIdentity"] = record.holder;
  spec["leaseDurationSeconds"] = record.duration_seconds;
  spec["leaseTransitions"] = record.transitions;
  for (const auto& [key, time] : {std::pair{"acquireTime", &record.acquire_time}, {"renewTime", &record.renew_time}}) {
    if (time->empty()) {
      spec.erase(key);
    } else {
      spec[key] = *time;
    }
  }
  return lease.dump();
}

std::string MakeIdentity(std::string_view host) {
  return StrCat(host, "_", absl::StrFormat("%08x", static_cast<uint32_t>(Entropy())));
}

LeaseMachine::LeaseMachine(LeaseSettings settings, uint64_t seed) : settings_(std::move(settings)), random_(seed) {}

Duration LeaseMachine::Jittered(Duration period) {
  return period + FromSeconds(Seconds(period) * kJitter * random_.Uniform());
}

bool LeaseMachine::Leading(TimePoint now) const { return leading_ && now < leading_until(); }

TimePoint LeaseMachine::leading_until() const {
  return renewed_at_ == kNever ? kNever : renewed_at_ + settings_.renew_deadline;
}

TimePoint LeaseMachine::expires() const {
  const Duration duration =
      observed_.duration_seconds > 0 ? std::chrono::seconds(observed_.duration_seconds) : settings_.duration;
  return observed_at_ + duration;
}

LeaseRecord LeaseMachine::MineFrom(const LeaseRecord& seen) const {
  LeaseRecord mine = seen;
  if (seen.holder != settings_.identity) {
    mine.transitions = absent_ ? 0 : seen.transitions + 1;
    mine.acquire_time.clear();
  }
  mine.holder = settings_.identity;
  mine.duration_seconds = static_cast<int>(std::chrono::ceil<std::chrono::seconds>(settings_.duration).count());
  mine.renew_time.clear();
  return mine;
}

LeaseMachine::Action LeaseMachine::Next(TimePoint now) {
  if (now < next_try_) return {Action::Kind::kWait, next_try_, {}};
  // The last holder of a Lease that was deleted may go on until it notices.
  const bool others = known_ && !observed_.holder.empty() && observed_.holder != settings_.identity;
  if (settings_.watch && others && now < expires()) {
    // Then it is read before it is taken over: a watch may have been silent for other reasons.
    read_first_ = true;
    next_try_ = expires() + FromSeconds(random_.Uniform());
    return {Action::Kind::kWait, next_try_, {}};
  }
  if (!known_ || read_first_) return {Action::Kind::kGet, {}, {}};
  if (!others || now >= expires()) {
    pending_write_ = true;
    return {Action::Kind::kWrite, {}, MineFrom(absent_ ? LeaseRecord{} : observed_)};
  }
  read_first_ = true;
  next_try_ = now + Jittered(settings_.retry_period);
  return {Action::Kind::kWait, next_try_, {}};
}

void LeaseMachine::Observe(TimePoint now, const LeaseRecord& record) {
  if (known_ && !absent_ && CompareResourceVersions(record.resource_version, observed_.resource_version) == -1) return;
  if (!known_ || absent_ || !record.SameAs(observed_)) observed_at_ = now;
  const bool released = known_ && !observed_.holder.empty() && record.holder.empty();
  observed_ = record;
  known_ = true;
  absent_ = false;
  if (observed_.holder != settings_.identity) leading_ = false;
  if (!released || pending_write_) return;
  read_first_ = false;
  next_try_ = now;  // whoever loses the race reads again
}

void LeaseMachine::Answer(TimePoint sent, TimePoint now, const absl::StatusOr<LeaseRecord>& outcome) {
  if (!pending_write_) {
    if (outcome.ok()) {
      read_first_ = false;
      next_try_ = now;
      Observe(now, *outcome);
    } else if (kube::IsNotFound(outcome.status())) {
      known_ = absent_ = true;
      if (!settings_.may_create) {
        observed_ = {};
        leading_ = false;
      }
      read_first_ = !settings_.may_create;
      next_try_ = settings_.may_create ? now : now + Jittered(settings_.retry_period);
    } else {
      next_try_ = now + Jittered(settings_.retry_period);
    }
    return;
  }
  pending_write_ = false;
  if (!outcome.ok()) {
    read_first_ = true;  // it may have been written all the same
    next_try_ = now + (leading_ ? settings_.retry_period / 2 : Jittered(settings_.retry_period / 2));
    return;
  }
  Observe(now, *outcome);
  if (observed_.holder != settings_.identity) return;
  leading_ = true;
  renewed_at_ = sent;
  read_first_ = false;
  next_try_ = sent + settings_.retry_period;
}

std::optional<LeaseRecord> LeaseMachine::Release() const {
  if (!known_ || absent_ || observed_.holder != settings_.identity) return std::nullopt;
  LeaseRecord released = observed_;
  released.holder.clear();
  released.duration_seconds = 1;
  released.acquire_time.clear();
  released.renew_time.clear();
  return released;
}

struct LeaderElector::Impl {
  Impl(Client* c, LeaseSettings s, const Clock& k, LeaderCallbacks callbacks_, metrics::Metrics* metrics)
      : client(c), settings(std::move(s)), clock(k), callbacks(std::move(callbacks_)), machine(settings, Entropy()) {
    if (metrics != nullptr) master = metrics->GetGauge("leader_election_master_status", {{"name", settings.name}});
  }

  Client* const client;
  const LeaseSettings settings;
  const Clock& clock;
  const LeaderCallbacks callbacks;
  std::optional<metrics::Gauge> master;

  mutable std::mutex mutex;
  std::condition_variable changed;
  LeaseMachine machine;  // under the mutex
  bool stopping = false;
  bool observed = false;  // since the thread last looked

  std::unique_ptr<Cache> cache;  // with settings.watch
  std::unique_ptr<Reflector> reflector;
  std::thread thread;
  bool told_leading = false;  // these two: the thread's, or Stop's after it has ended
  std::string told_holder, told_problem;
  std::optional<Duration> wall_ahead;  // of `clock`, when last looked at

  std::chrono::system_clock::time_point Wall() const {
    return settings.wall_time ? settings.wall_time() : std::chrono::system_clock::now();
  }
  void Watch();
  void Run();
  void Tell();
  std::string WhyStopped() const;
  absl::StatusOr<LeaseRecord> Do(const LeaseMachine::Action& action);
  void LogProblem(const absl::Status& status);
  void NoticeClock();
};

void LeaderElector::Impl::Watch() {
  cache = std::make_unique<Cache>(kLeases);
  cache->AddHandler([this](const Change& change) {
    if (change.after == nullptr) return;  // deleted: the next renewal, or expiry, finds out
    const absl::StatusOr<LeaseRecord> record = ParseLease(*change.after);
    if (!record.ok()) return;
    const std::lock_guard lock(mutex);
    machine.Observe(clock.Now(), *record);
    observed = true;
    changed.notify_all();
  });
  reflector = std::make_unique<Reflector>(client, cache.get(),
                                          ReflectorOptions{.namespace_name = settings.namespace_name,
                                                           .field_selector = StrCat("metadata.name=", settings.name)},
                                          clock);
  reflector->Start();
}

// With the mutex.
std::string LeaderElector::Impl::WhyStopped() const {
  if (stopping) return "this process ends";
  const std::string& holder = machine.holder();
  if (!holder.empty() && holder != settings.identity) return StrCat(holder, " has taken it");
  if (machine.absent() && !settings.may_create) return "it was deleted";
  if (holder.empty()) return "somebody took this process's name out of it";
  return StrCat("it could not be renewed for ", Seconds(settings.renew_deadline), " s",
                told_problem.empty() ? "" : ": ", told_problem);
}

// Reports what changed; without the mutex, for callbacks may ask IsLeader.
void LeaderElector::Impl::Tell() {
  bool leads;
  std::string holder, why;
  {
    const std::lock_guard lock(mutex);
    leads = machine.Leading(clock.Now());
    holder = machine.holder();
    if (!leads) why = WhyStopped();
  }
  if (leads != told_leading) {
    told_leading = leads;
    if (master) master->Set(leads ? 1 : 0);
    if (leads && callbacks.on_started) callbacks.on_started();
    if (!leads && callbacks.on_stopped) callbacks.on_stopped(why);
  }
  if (holder != told_holder && !holder.empty() && callbacks.on_new_leader) callbacks.on_new_leader(holder);
  told_holder = holder;
}

void LeaderElector::Impl::LogProblem(const absl::Status& status) {
  const bool lost_a_race = IsConflict(status) || kube::IsAlreadyExists(status);
  const std::string problem = status.ok() || lost_a_race ? "" : std::string(ToStd(status.message()));
  if (!problem.empty() && problem != told_problem)
    LogWarning("leader election has trouble",
               {{"lease", StrCat(settings.namespace_name, "/", settings.name)}, {"why", problem}});
  told_problem = problem;
}

// Elections do not mind, but certificates and tokens are judged by the wall clock, by us and by the API server.
void LeaderElector::Impl::NoticeClock() {
  const Duration ahead =
      std::chrono::duration_cast<Duration>(Wall().time_since_epoch()) - clock.Now().time_since_epoch();
  const Duration moved = wall_ahead ? ahead - *wall_ahead : Duration::zero();
  wall_ahead = ahead;
  if (moved < kClockJump && moved > -kClockJump) return;
  LogWarning("the wall clock was set",
             {{"by_s", Seconds(moved)},
              {"means",
               "times in status, Events and logs jump; elections and limits go on by the machine's own clock; "
               "certificates and tokens may count as expired, or not valid yet"},
              {"next", "if nobody meant to, look at the node's time service: timedatectl, chronyc tracking"}});
  if (callbacks.on_clock_set) callbacks.on_clock_set(moved);
}

absl::StatusOr<LeaseRecord> LeaderElector::Impl::Do(const LeaseMachine::Action& action) {
  absl::StatusOr<ObjectPtr> object = absl::UnknownError("");
  if (action.kind == LeaseMachine::Action::Kind::kGet) {
    object = client->Get(kLeases, settings.namespace_name, settings.name);
  } else {
    LeaseRecord record = action.record;
    record.renew_time = Rfc3339Micros(Wall());
    if (record.acquire_time.empty()) record.acquire_time = record.renew_time;
    const std::string body = LeaseJson(settings, record);
    object = record.json.empty() ? client->Create(kLeases, settings.namespace_name, body)
                                 : client->Update(kLeases, settings.namespace_name, settings.name, body);
  }
  PATELLA_RETURN_IF_ERROR(object.status());
  return ParseLease(**object);
}

void LeaderElector::Impl::Run() {
  while (true) {
    LeaseMachine::Action action;
    {
      std::unique_lock lock(mutex);
      if (stopping) return;
      const TimePoint now = clock.Now();
      action = machine.Next(now);
      if (action.kind == LeaseMachine::Action::Kind::kWait) {
        TimePoint until = action.until;
        if (told_leading) until = std::min(until, machine.leading_until());
        const Duration wait = std::clamp<Duration>(until - now, std::chrono::milliseconds(1), std::chrono::seconds(60));
        changed.wait_for(lock, wait, [&] { return stopping || observed; });
        observed = false;
      }
    }
    if (action.kind != LeaseMachine::Action::Kind::kWait) {
      const TimePoint sent = clock.Now();
      const absl::StatusOr<LeaseRecord> outcome = Do(action);
      NoticeClock();
      const bool to_be_made = kube::IsNotFound(outcome.status()) && settings.may_create;
      LogProblem(to_be_made ? absl::OkStatus() : outcome.status());
      if (to_be_made && told_leading && action.kind == LeaseMachine::Action::Kind::kGet)
        LogWarning("the Lease was deleted while this process leads",
                   {{"lease", StrCat(settings.namespace_name, "/", settings.name)}, {"next", "it is made anew"}});
      const std::lock_guard lock(mutex);
      machine.Answer(sent, clock.Now(), outcome);
    }
    Tell();
  }
}

LeaderElector::LeaderElector(Client* client, LeaseSettings settings, const Clock& clock, LeaderCallbacks callbacks,
                             metrics::Metrics* metrics)
    : impl_(std::make_unique<Impl>(client, std::move(settings), clock, std::move(callbacks), metrics)) {}

LeaderElector::~LeaderElector() { Stop(/*release=*/false); }

void LeaderElector::Start() {
  if (impl_->settings.watch) impl_->Watch();
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
}

void LeaderElector::Stop(bool release) {
  if (impl_->reflector != nullptr) impl_->reflector->Stop();
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    impl_->changed.notify_all();
  }
  if (!impl_->thread.joinable()) return;
  impl_->thread.join();
  std::optional<LeaseRecord> released;
  {
    const std::lock_guard lock(impl_->mutex);
    if (release && impl_->machine.Leading(impl_->clock.Now())) released = impl_->machine.Release();
  }
  if (!released) return;
  released->renew_time = released->acquire_time = Rfc3339Micros(impl_->Wall());
  const absl::StatusOr<ObjectPtr> answer = impl_->client->Update(
      kLeases, impl_->settings.namespace_name, impl_->settings.name, LeaseJson(impl_->settings, *released));
  if (answer.ok()) {
    const absl::StatusOr<LeaseRecord> record = ParseLease(**answer);
    const std::lock_guard lock(impl_->mutex);
    if (record.ok()) impl_->machine.Observe(impl_->clock.Now(), *record);
  } else {
    LogWarning("the lease could not be given up; it expires by itself",
               {{"why", std::string(ToStd(answer.status().message()))}});
  }
  impl_->Tell();
}

bool LeaderElector::IsLeader() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->machine.Leading(impl_->clock.Now());
}

std::string LeaderElector::Holder() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->machine.holder();
}

}  // namespace patella::kube
