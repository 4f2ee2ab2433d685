// Keeps a Cache like the API server: lists or streams the state, then watches, for ever, through every kind of failure.
//
// client-go's state machine and numbers: watch-list first (falls back to paged lists on servers that do not know it);
// watches of 5 to 10 minutes; bookmarks move the resource version; a watch that ended is taken up again from the last
// version; refused connections and 429 back off and never list again; 410 lists again from the last version, and from
// the newest if that is too old or "too large"; back-off 800 ms to 30 s with jitter, or longer if
// Retry-After says so. One thread per reflector; the client, cache and clock outlive it.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "lib/base/clock.h"
#include "lib/kube/backoff.h"
#include "lib/kube/cache.h"
#include "lib/kube/client.h"

namespace patella::kube {

struct ReflectorOptions {
  std::string namespace_name;  // "": all
  std::string label_selector;
  std::string field_selector;
  int page_size = 500;
  bool watch_list = true;
  Duration min_watch = std::chrono::minutes(5);  // lengths are drawn from [min, 2·min)
  BackoffSettings backoff;
  uint64_t seed = 0;  // 0: from the machine's entropy
};

// What the reflector does next; pure, for tests and for the table in reflector.cc.
enum class NextStep { kWatchAgain, kWatchAfterBackoff, kList, kListNewest, kListAfterBackoff };
NextStep AfterWatch(const absl::Status& status, bool any_event, Duration lasted);

struct ReflectorStats {  // since the start
  uint64_t lists = 0, watch_lists = 0, watches = 0, events = 0, bookmarks = 0, failures = 0;
  absl::Status last_error;  // OK once it works again
};

class Reflector {
 public:
  Reflector(Client* client, Cache* cache, ReflectorOptions options, const Clock& clock);
  ~Reflector();  // stops

  void Start();
  // In place of Start, for one thread whose clock is set by hand: lists, watches, or reads what a watch has told. Says how long to wait before the
  // next call; nothing: until the server tells something.
  std::optional<Duration> Step();
  void Stop();             // returns when the thread has ended; no handler runs after
  bool HasSynced() const;  // the cache has held the whole state once
  ReflectorStats Stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::kube
