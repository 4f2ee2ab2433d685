#include "lib/kube/reflector.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "lib/base/logging.h"
#include "lib/base/random.h"
#include "lib/base/text.h"

namespace patella::kube {
namespace {

constexpr Duration kVeryShort = std::chrono::seconds(1);
constexpr Duration kPatience = std::chrono::minutes(1);
constexpr Duration kProgressWarning = std::chrono::seconds(10);

uint64_t Entropy() { return (uint64_t{std::random_device()()} << 32) | std::random_device()(); }

}  // namespace

NextStep AfterWatch(const absl::Status& status, bool any_event, Duration lasted) {
  const bool very_short = lasted < kVeryShort && !any_event;
  // The server ended it: its time was up. Ended at once and empty, it is something else in disguise.
  if (status.ok()) return very_short ? NextStep::kListAfterBackoff : NextStep::kWatchAgain;
  if (IsTooLargeResourceVersion(status)) return NextStep::kListNewest;
  if (IsExpired(status)) return NextStep::kList;
  switch (ConnectionFailureOf(status)) {
    case ConnectionFailure::kNone:
      break;
    case ConnectionFailure::kDropped:
    case ConnectionFailure::kTimeout:
      return very_short ? NextStep::kWatchAfterBackoff : NextStep::kWatchAgain;
    default:
      return NextStep::kWatchAfterBackoff;  // a list would meet the same wall, and later a thundering herd of lists
  }
  const std::optional<ApiError> error = ApiErrorOf(status);
  const bool nothing_lost = !error || error->http_code == 429 || error->http_code == 401 || error->http_code == 503;
  return nothing_lost ? NextStep::kWatchAfterBackoff : NextStep::kListAfterBackoff;
}

struct Reflector::Impl {
  Impl(Client* client, Cache* cache, ReflectorOptions o, const Clock& clock)
      : client(client),
        cache(cache),
        options(std::move(o)),
        clock(clock),
        seed(options.seed != 0 ? options.seed : Entropy()),
        backoff(options.backoff, seed),
        random(seed + 1),
        watch_list(options.watch_list) {}

  Client* client;
  Cache* cache;
  const ReflectorOptions options;
  const Clock& clock;
  const uint64_t seed;

  // The thread's own.
  Backoff backoff;
  Random random;
  std::string version;  // last seen
  bool watch_list;
  struct Trouble {
    std::string kind;  // as last told in the log; "": none
    absl::Status status;
  };
  Trouble of_list, of_watch;
  NextStep step = NextStep::kList;
  std::unique_ptr<WatchStream> stream;  // in progress
  bool any_event = false;               // of it
  TimePoint began;                      // it
  Duration asked{};                     // for a pause, by the server, with what failed last
  TimePoint resume_at;                  // for Step: the pause ends

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  bool synced = false;
  WatchStream* current = nullptr;  // so that Stop can cancel it
  ReflectorStats stats;
  std::thread thread;

  void Run();
  std::optional<Duration> Turn(Duration patience);
  absl::Status Fill(const std::string& from);
  absl::Status FillByWatch(const std::string& from);
  absl::Status FillByList(const std::string& from);
  std::optional<absl::Status> Follow(Duration patience);
  std::unique_ptr<WatchStream> Open(bool send_initial_events, const std::string& from);

  void Filled(std::vector<ObjectPtr> objects, std::string_view at) {
    cache->Replace(options.namespace_name, std::move(objects), at, /*initial=*/!Synced());
    version = at;
    Works(of_list);
    if (IsExpired(of_watch.status) || IsTooLargeResourceVersion(of_watch.status)) Works(of_watch);
    const std::lock_guard lock(mutex);
    synced = true;
    changed.notify_all();
  }

  bool Stopping() const {
    const std::lock_guard lock(mutex);
    return stopping;
  }

  bool Synced() const {
    const std::lock_guard lock(mutex);
    return synced;
  }

  void Pause(Duration duration) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, duration, [&] { return stopping; });
  }

  void Failed(Trouble& of, std::string_view what, const absl::Status& status) {
    {
      const std::lock_guard lock(mutex);
      if (stopping) return;
      ++stats.failures;
      stats.last_error = status;
    }
    // Each kind of trouble once: an API server that is away fails every try alike.
    const std::optional<ApiError> error = ApiErrorOf(status);
    const std::string kind = StrCat(static_cast<int>(ConnectionFailureOf(status)), " ", error ? error->http_code : 0);
    const LogFields fields = {{"resource", QualifiedName(cache->resource())},
                              {"namespace", options.namespace_name},
                              {"version", version},
                              {"error", status}};
    of.status = status;
    const bool news = std::exchange(of.kind, kind) != kind;
    news ? LogWarning(StrCat(what, " failed"), fields) : LogDebug(StrCat(what, " failed again"), fields);
  }

  // A list that works says nothing of watches, which may be refused all the same; but it is all that an old version needs.
  void Works(Trouble& of) {
    const bool had_trouble = !std::exchange(of, {}).kind.empty();
    const Trouble& left = of_list.kind.empty() ? of_watch : of_list;
    {
      const std::lock_guard lock(mutex);
      stats.last_error = left.status;
    }
    if (had_trouble && left.kind.empty())
      LogInfo("up to date again",
              {{"resource", QualifiedName(cache->resource())}, {"namespace", options.namespace_name}});
  }

  template <typename F>
  void Count(const F& add) {
    const std::lock_guard lock(mutex);
    add(stats);
  }

  // While it exists, Stop cancels the stream.
  struct Current {
    Current(Impl& impl, WatchStream& stream) : impl(impl) {
      const std::lock_guard lock(impl.mutex);
      impl.current = &stream;
      if (impl.stopping) stream.Cancel();
    }
    ~Current() {
      const std::lock_guard lock(impl.mutex);
      impl.current = nullptr;
    }
    Impl& impl;
  };
};

void Reflector::Impl::Run() {
  while (!Stopping()) {
    const std::optional<Duration> pause = Turn(kPatience);
    if (pause && *pause > Duration::zero()) Pause(*pause);
  }
}

// Takes the next step and says how long to pause after it. Nothing: the watch goes on, but has told nothing for `patience`.
std::optional<Duration> Reflector::Impl::Turn(Duration patience) {
  if (step == NextStep::kListAfterBackoff || step == NextStep::kWatchAfterBackoff) {
    step = step == NextStep::kListAfterBackoff ? NextStep::kList : NextStep::kWatchAgain;
    return std::max(backoff.Next(clock.Now()), asked);
  }
  if (step == NextStep::kWatchAgain) {
    if (stream == nullptr) {
      began = clock.Now();
      any_event = false;
      stream = Open(false, version);
      Count([](ReflectorStats& s) { ++s.watches; });
    }
    const std::optional<absl::Status> ended = Follow(patience);
    if (!ended) return std::nullopt;
    stream.reset();
    step = AfterWatch(*ended, any_event, clock.Now() - began);
    asked = RetryAfter(*ended).value_or(Duration::zero());
    if (!ended->ok()) Failed(of_watch, "watch", *ended);
    return Duration::zero();
  }
  const bool newest = step == NextStep::kListNewest;
  const absl::Status status = Fill(newest ? "" : version);
  if (status.ok()) {
    step = NextStep::kWatchAgain;
    return Duration::zero();
  }
  Failed(of_list, "list", status);
  asked = RetryAfter(status).value_or(Duration::zero());
  const bool too_old_or_new = IsExpired(status) || IsTooLargeResourceVersion(status);
  if (too_old_or_new) version.clear();
  step = too_old_or_new && !newest ? NextStep::kListNewest : NextStep::kListAfterBackoff;
  return Duration::zero();
}

absl::Status Reflector::Impl::Fill(const std::string& from) {
  if (watch_list) {
    const absl::Status status = FillByWatch(from);
    const bool list_could_do = ConnectionFailureOf(status) == ConnectionFailure::kNone && !IsExpired(status) &&
                               !IsTooLargeResourceVersion(status) && !IsTooManyRequests(status) &&
                               !IsUnauthorized(status);
    if (status.ok() || Stopping() || !list_could_do) return status;
    if (IsInvalid(status)) watch_list = false;  // this server does not know it, and will not learn it
    LogDebug("watch-list failed, listing instead", {{"resource", QualifiedName(cache->resource())}, {"error", status}});
  }
  return FillByList(from);
}

std::unique_ptr<WatchStream> Reflector::Impl::Open(bool send_initial_events, const std::string& from) {
  WatchOptions watch;
  watch.namespace_name = options.namespace_name;
  watch.label_selector = options.label_selector;
  watch.field_selector = options.field_selector;
  watch.resource_version = from;
  watch.send_initial_events = send_initial_events;
  watch.timeout = FromSeconds(Seconds(options.min_watch) * (1 + random.Uniform()));
  return client->Watch(cache->resource(), watch);
}

absl::Status Reflector::Impl::FillByWatch(const std::string& from) {
  Count([](ReflectorStats& s) { ++s.watch_lists; });
  std::unique_ptr<WatchStream> opened = Open(true, from);
  const Current current(*this, *opened);
  std::map<ObjectKey, ObjectPtr> objects;
  while (true) {
    const absl::StatusOr<WatchEvent> event = opened->Next(kProgressWarning);
    if (!event.ok()) return event.status();
    switch (event->type) {
      case WatchEventType::kAdded:
      case WatchEventType::kModified:
        objects[event->object->key()] = event->object;
        break;
      case WatchEventType::kDeleted:
        objects.erase(event->object->key());
        break;
      case WatchEventType::kBookmark: {
        if (!event->object->initial_events_end()) break;
        std::vector<ObjectPtr> list;
        list.reserve(objects.size());
        for (auto& [key, object] : objects) list.push_back(std::move(object));
        Filled(std::move(list), event->object->resource_version());
        Works(of_watch);
        stream = std::move(opened);
        began = clock.Now();
        any_event = true;  // the initial ones
        return absl::OkStatus();
      }
      case WatchEventType::kNothingYet:
        LogWarning("still waiting for the initial state",
                   {{"resource", QualifiedName(cache->resource())}, {"objects", objects.size()}});
        break;
      default:
        return absl::UnavailableError("the watch ended before the initial state was complete");
    }
  }
}

absl::Status Reflector::Impl::FillByList(const std::string& from) {
  Count([](ReflectorStats& s) { ++s.lists; });
  const bool first = from.empty() && version.empty() && !Synced();
  ListOptions list;
  list.namespace_name = options.namespace_name;
  list.label_selector = options.label_selector;
  list.field_selector = options.field_selector;
  // The first list takes what the server has at hand; a list from a known version is not paged, so that the server
  // answers from memory; the newest state comes from etcd, in pages.
  list.resource_version = first ? "0" : from;
  list.limit = from.empty() ? options.page_size : 0;
  absl::StatusOr<ListPage> all = ListAll(*client, cache->resource(), list);
  if (!all.ok()) return all.status();
  Filled(std::move(all->items), all->resource_version);
  return absl::OkStatus();
}

// What the watch ended with; nothing if it has told nothing for `patience`.
std::optional<absl::Status> Reflector::Impl::Follow(Duration patience) {
  const Current current(*this, *stream);
  while (true) {
    const absl::StatusOr<WatchEvent> event = stream->Next(patience);
    if (!event.ok()) return event.status();
    switch (event->type) {
      case WatchEventType::kAdded:
      case WatchEventType::kModified:
        cache->Set(event->object);
        break;
      case WatchEventType::kDeleted:
        cache->Remove(event->object);
        break;
      case WatchEventType::kBookmark:
        break;
      case WatchEventType::kNothingYet:
        return std::nullopt;
      default:
        return absl::OkStatus();
    }
    any_event = true;
    Works(of_watch);
    version = event->object->resource_version();
    Count([&](ReflectorStats& s) { ++(event->type == WatchEventType::kBookmark ? s.bookmarks : s.events); });
  }
}

Reflector::Reflector(Client* client, Cache* cache, ReflectorOptions options, const Clock& clock)
    : impl_(std::make_unique<Impl>(client, cache, std::move(options), clock)) {}

Reflector::~Reflector() { Stop(); }

void Reflector::Start() {
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
}

std::optional<Duration> Reflector::Step() {
  const TimePoint now = impl_->clock.Now();
  if (now < impl_->resume_at) return impl_->resume_at - now;
  const std::optional<Duration> pause = impl_->Turn(Duration::zero());
  impl_->resume_at = now + pause.value_or(Duration::zero());
  return pause;
}

void Reflector::Stop() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
    if (impl_->current != nullptr) impl_->current->Cancel();
    impl_->changed.notify_all();
  }
  if (impl_->thread.joinable()) impl_->thread.join();
}

bool Reflector::HasSynced() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->synced;
}

ReflectorStats Reflector::Stats() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->stats;
}

}  // namespace patella::kube
