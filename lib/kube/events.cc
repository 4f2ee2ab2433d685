#include "lib/kube/events.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <tuple>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "lib/base/hash.h"
#include "lib/base/logging.h"
#include "lib/base/rfc3339.h"
#include "lib/base/text.h"

namespace patella::kube {
namespace {

using nlohmann::json;

constexpr size_t kLongestNote = 1024;
constexpr size_t kMostRemembered = 4096;  // series and buckets; beyond, those whose window is over are forgotten
constexpr int kAttempts = 3;
constexpr Duration kPause = std::chrono::seconds(1);

// The same one again: an Event's identity without its times.
using Identity = std::tuple<std::string, std::string, std::string, std::string, bool>;
Identity IdentityOf(const Event& event) {
  return {StrCat(event.regarding.kind, "/", event.regarding.namespace_name, "/", event.regarding.name, "/",
                 event.regarding.uid),
          event.reason, event.action, event.note, event.warning};
}

// At a character's border, so that the note stays UTF-8.
std::string Cut(std::string text) {
  if (text.size() <= kLongestNote) return text;
  size_t end = kLongestNote - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

std::string NowText() { return Rfc3339Micros(std::chrono::system_clock::now()); }

}  // namespace

ObjectReference ReferenceTo(const Object& object) {
  return {std::string(object.api_version()), std::string(object.kind()), std::string(object.namespace_name()),
          std::string(object.name()),        std::string(object.uid()),  std::string(object.resource_version())};
}

struct EventRecorder::Impl {
  Impl(Client* c, EventRecorderOptions o, const Clock& k) : client(c), options(std::move(o)), clock(k) {}

  struct Series {
    std::string name;
    int count = 1;
    TimePoint last;
  };
  struct Bucket {
    double tokens;
    TimePoint filled;
  };

  Client* const client;
  const EventRecorderOptions options;
  const Clock& clock;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Event> queue;
  bool stopping = false;
  bool busy = false;
  std::thread thread;

  // The thread's.
  std::map<Identity, Series> series;
  std::map<std::string, Bucket> buckets;
  std::string told_problem;

  void Run();
  void Send(const Event& event);
  bool Take(const std::string& object, TimePoint now);
  void Forget(TimePoint now);
  absl::Status Create(const Event& event, const std::string& name, const std::string& where);
  template <typename Call>
  absl::Status Persist(const Call& call);
};

bool EventRecorder::Impl::Take(const std::string& object, TimePoint now) {
  auto [found, fresh] = buckets.try_emplace(object, Bucket{static_cast<double>(options.burst), now});
  Bucket& bucket = found->second;
  bucket.tokens =
      std::min<double>(options.burst, bucket.tokens + Seconds(now - bucket.filled) / Seconds(options.refill));
  bucket.filled = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

void EventRecorder::Impl::Forget(TimePoint now) {
  if (series.size() > kMostRemembered)
    std::erase_if(series, [&](const auto& entry) { return now - entry.second.last > options.series_window; });
  if (buckets.size() > kMostRemembered) {
    const Duration full = options.refill * options.burst;
    std::erase_if(buckets, [&](const auto& entry) { return now - entry.second.filled > full; });
  }
}

absl::Status EventRecorder::Impl::Create(const Event& event, const std::string& name, const std::string& where) {
  json regarding = json::object();
  const ObjectReference& about = event.regarding;
  for (const auto& [key, value] : {std::pair<const char*, const std::string*>{"apiVersion", &about.api_version},
                                   {"kind", &about.kind},
                                   {"namespace", &about.namespace_name},
                                   {"name", &about.name},
                                   {"uid", &about.uid},
                                   {"resourceVersion", &about.resource_version}}) {
    if (!value->empty()) regarding[key] = *value;
  }
  const json body = {{"apiVersion", ApiVersionOf(kEvents)},
                     {"kind", kEvents.kind},
                     {"metadata", {{"name", name}, {"namespace", where}}},
                     {"eventTime", NowText()},
                     {"reportingController", options.controller},
                     {"reportingInstance", options.instance.empty() ? options.controller : options.instance},
                     {"action", event.action},
                     {"reason", event.reason},
                     {"regarding", regarding},
                     {"note", event.note},
                     {"type", event.warning ? "Warning" : "Normal"}};
  return client->Create(kEvents, where, body.dump(-1, ' ', false, json::error_handler_t::replace)).status();
}

template <typename Call>
absl::Status EventRecorder::Impl::Persist(const Call& call) {
  for (int attempt = 1;; ++attempt) {
    const absl::Status status = call();
    const bool passing = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || IsTooManyRequests(status);
    if (!passing || attempt == kAttempts) return status;
    std::unique_lock lock(mutex);
    if (changed.wait_for(lock, kPause, [&] { return stopping; })) return status;
  }
}

void EventRecorder::Impl::Send(const Event& event) {
  const TimePoint now = clock.Now();
  Forget(now);
  const Identity identity = IdentityOf(event);
  const std::string where =
      event.regarding.namespace_name.empty() ? options.default_namespace : event.regarding.namespace_name;
  const auto found = series.find(identity);
  const bool again = found != series.end() && now - found->second.last <= options.series_window;
  if (again) ++found->second.count, found->second.last = now;
  // One that comes again is counted all the same: the next one that is sent tells the count.
  if (!Take(std::get<0>(identity), now)) return;
  absl::Status status;
  if (again) {
    const json patch = {{"series", {{"count", found->second.count}, {"lastObservedTime", NowText()}}}};
    status = Persist([&] { return client->MergePatch(kEvents, where, found->second.name, patch.dump()).status(); });
    if (kube::IsNotFound(status)) series.erase(found);  // it lived its time: begin anew
  }
  if (!again || kube::IsNotFound(status)) {
    const std::string text =
        StrCat(std::get<0>(identity), event.reason, event.action, event.note, absl::ToUnixNanos(absl::Now()));
    const std::string name = StrCat(event.regarding.name.substr(0, 200), ".", absl::StrFormat("%016x", Fnv1a(text)));
    status = Persist([&] { return Create(event, name, where); });
    if (kube::IsAlreadyExists(status)) status = absl::OkStatus();  // an attempt that was thought lost had come through
    if (status.ok()) series[identity] = {name, 1, now};
  }
  const std::string problem = status.ok() || IsNamespaceTerminating(status) ? "" : std::string(ToStd(status.message()));
  if (!problem.empty() && problem != told_problem)
    LogWarning("an Event could not be written", {{"why", problem}, {"event", event.reason}});
  told_problem = problem;
}

void EventRecorder::Impl::Run() {
  while (true) {
    Event event;
    {
      std::unique_lock lock(mutex);
      busy = false;
      changed.notify_all();
      changed.wait(lock, [&] { return stopping || !queue.empty(); });
      if (queue.empty()) return;
      event = std::move(queue.front());
      queue.pop_front();
      busy = true;
    }
    Send(event);
  }
}

EventRecorder::EventRecorder(Client* client, EventRecorderOptions options, const Clock& clock)
    : impl_(std::make_unique<Impl>(client, std::move(options), clock)) {
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
}

EventRecorder::~EventRecorder() { Stop(Duration::zero()); }

void EventRecorder::Record(Event event) {
  event.note = Cut(std::move(event.note));
  if (event.action.empty()) event.action = event.reason;
  const std::lock_guard lock(impl_->mutex);
  if (impl_->stopping || impl_->queue.size() >= impl_->options.queue) return;
  impl_->queue.push_back(std::move(event));
  impl_->changed.notify_all();
}

void EventRecorder::Stop(Duration wait) {
  {
    std::unique_lock lock(impl_->mutex);
    impl_->changed.wait_for(lock, wait, [&] { return impl_->queue.empty() && !impl_->busy; });
    impl_->queue.clear();
    impl_->stopping = true;
    impl_->changed.notify_all();
  }
  if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace patella::kube
