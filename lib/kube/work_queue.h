// Keys that wait to be reconciled: each key is with one worker at a time, no addition is lost, additions in between
// become one.
//
// Order: higher priority first, then first come first served. What is added while its key is with a worker comes again
// after Done. AddRateLimited waits the longer of 5 ms · 2^failures (at most 1000 s) and a global bucket of 10/s with
// 100 in stock: client-go's numbers. Thread-safe. Time comes from the clock; Get wakes by the machine's own, so with a
// ManualClock use TryGet.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "lib/base/clock.h"
#include "lib/kube/object.h"
#include "lib/metrics/metrics.h"

namespace patella::kube {

inline constexpr int kPriorityNormal = 0;
inline constexpr int kPriorityInitial = -100;  // what a restart finds yields to what a user does

struct WorkQueueOptions {
  Duration base_delay = std::chrono::milliseconds(5);
  Duration max_delay = std::chrono::seconds(1000);
  double bucket_per_second = 10;
  int bucket_size = 100;
  std::string name;                     // label of the metrics
  metrics::Metrics* metrics = nullptr;  // workqueue_*
};

class WorkQueue {
 public:
  WorkQueue(WorkQueueOptions options, const Clock& clock);
  ~WorkQueue();

  void Add(const ObjectKey& key, int priority = kPriorityNormal);
  // A key that waits twice comes at the earlier of the two times, with the higher priority.
  void AddAfter(const ObjectKey& key, Duration delay, int priority = kPriorityNormal);
  void AddRateLimited(const ObjectKey& key);
  void Forget(const ObjectKey& key);  // its failures; what waits stays

  // Blocks for the next key; nullopt once shut down and empty. Each key must be given back with Done.
  std::optional<ObjectKey> Get();
  std::optional<ObjectKey> TryGet();  // does not block
  void Done(const ObjectKey& key);

  // Nothing more is taken in, what is delayed is dropped, what is ready is still given out.
  void ShutDown();
  void ShutDownAndDrop();  // nothing is given out either

  size_t Ready() const;  // waits for a worker
  size_t Delayed() const;
  size_t Processing() const;
  std::optional<TimePoint> NextDelayed() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::kube
