#include "lib/kube/work_queue.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

namespace patella::kube {
namespace {

// A waiting Get looks at the clock at least this often, whatever it believes about the next delayed key.
constexpr Duration kInsurance = std::chrono::seconds(10);

struct Place {
  int priority;
  uint64_t order;  // of arrival
  bool operator<(const Place& other) const {
    return priority != other.priority ? priority > other.priority : order < other.order;
  }
};

struct QueueMetrics {
  explicit QueueMetrics(metrics::Metrics& m, const std::string& name)
      : depth(m.GetGauge("workqueue_depth", {{"name", name}})),
        adds(m.GetCounter("workqueue_adds_total", {{"name", name}})),
        queue_seconds(m.GetHistogram("workqueue_queue_duration_seconds", {{"name", name}})),
        work_seconds(m.GetHistogram("workqueue_work_duration_seconds", {{"name", name}})),
        retries(m.GetCounter("workqueue_retries_total", {{"name", name}})),
        unfinished(m.GetGauge("workqueue_unfinished_work_seconds", {{"name", name}})),
        longest(m.GetGauge("workqueue_longest_running_processor_seconds", {{"name", name}})) {}
  metrics::Gauge depth;
  metrics::Counter adds;
  metrics::Histogram queue_seconds, work_seconds;
  metrics::Counter retries;
  metrics::Gauge unfinished, longest;
};

}  // namespace

struct WorkQueue::Impl {
  Impl(WorkQueueOptions o, const Clock& c) : options(std::move(o)), clock(c), tokens(options.bucket_size) {
    if (options.metrics != nullptr) metrics.emplace(*options.metrics, options.name);
    refilled = clock.Now();
  }

  struct Waiting {
    Place place;
    TimePoint since;
  };
  struct Delay {
    TimePoint at;
    int priority;
  };

  const WorkQueueOptions options;
  const Clock& clock;
  std::optional<QueueMetrics> metrics;

  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  // A key is in at most one of `waiting` and `again`; `again` (added while with a worker) is a part of `processing`.
  std::unordered_map<ObjectKey, Waiting, ObjectKeyHash> waiting;
  std::map<Place, ObjectKey> order;  // the same keys as `waiting`
  std::unordered_map<ObjectKey, TimePoint, ObjectKeyHash> processing;
  std::unordered_map<ObjectKey, int, ObjectKeyHash> again;  // with their priority
  std::unordered_map<ObjectKey, Delay, ObjectKeyHash> delayed;
  std::set<std::pair<TimePoint, ObjectKey>> alarm;  // the same keys as `delayed`
  std::unordered_map<ObjectKey, int, ObjectKeyHash> failures;
  double tokens;  // negative: promised already
  TimePoint refilled;
  uint64_t next_order = 0;
  bool shut_down = false;

  void DropDelay(const ObjectKey& key) {
    const auto found = delayed.find(key);
    if (found == delayed.end()) return;
    alarm.erase({found->second.at, key});
    delayed.erase(found);
  }

  void Enqueue(const ObjectKey& key, int priority, TimePoint now) {
    const Place place{priority, next_order++};
    waiting.emplace(key, Waiting{place, now});
    order.emplace(place, key);
    changed.notify_one();
  }

  void Add(const ObjectKey& key, int priority) {
    if (shut_down) return;
    DropDelay(key);  // sooner is here
    if (const auto with_worker = processing.find(key); with_worker != processing.end()) {
      const auto [found, fresh] = again.try_emplace(key, priority);
      if (!fresh) found->second = std::max(found->second, priority);
      if (fresh && metrics) metrics->adds.Add();
      return;
    }
    if (const auto found = waiting.find(key); found != waiting.end()) {
      Place& place = found->second.place;
      if (priority <= place.priority) return;
      order.erase(place);
      place.priority = priority;
      order.emplace(place, key);
      return;
    }
    Enqueue(key, priority, clock.Now());
    if (metrics) metrics->adds.Add();
    UpdateGauges();
  }

  void AddAt(const ObjectKey& key, TimePoint at, int priority) {
    if (shut_down) return;
    if (waiting.contains(key) || again.contains(key)) return Add(key, priority);  // comes sooner than `at`
    if (const auto found = delayed.find(key); found != delayed.end()) {
      at = std::min(at, found->second.at);
      priority = std::max(priority, found->second.priority);
      DropDelay(key);
    }
    delayed[key] = {at, priority};
    alarm.emplace(at, key);
    changed.notify_one();
  }

  void TakeDue(TimePoint now) {
    while (!alarm.empty() && alarm.begin()->first <= now) {
      const ObjectKey key = alarm.begin()->second;
      const int priority = delayed.at(key).priority;
      Add(key, priority);  // takes it out of `delayed`
    }
  }

  Duration BucketDelay(TimePoint now) {
    tokens = std::min<double>(options.bucket_size, tokens + Seconds(now - refilled) * options.bucket_per_second);
    refilled = now;
    tokens -= 1;
    return tokens >= 0 ? Duration::zero() : FromSeconds(-tokens / options.bucket_per_second);
  }

  Duration FailureDelay(const ObjectKey& key) {
    const int exponent = failures[key]++;
    const double seconds = Seconds(options.base_delay) * std::exp2(std::min(exponent, 60));
    return seconds >= Seconds(options.max_delay) ? options.max_delay : FromSeconds(seconds);
  }

  std::optional<ObjectKey> Take(TimePoint now) {
    if (order.empty()) return std::nullopt;
    ObjectKey key = std::move(order.begin()->second);
    order.erase(order.begin());
    const auto found = waiting.find(key);
    if (metrics) metrics->queue_seconds.Observe(Seconds(now - found->second.since));
    waiting.erase(found);
    processing.emplace(key, now);
    UpdateGauges();
    return key;
  }

  void UpdateGauges() {
    if (!metrics) return;
    metrics->depth.Set(static_cast<double>(waiting.size()));
    const TimePoint now = clock.Now();
    double sum = 0, longest = 0;
    for (const auto& [key, since] : processing) {
      sum += Seconds(now - since);
      longest = std::max(longest, Seconds(now - since));
    }
    metrics->unfinished.Set(sum);
    metrics->longest.Set(longest);
  }
};

WorkQueue::WorkQueue(WorkQueueOptions options, const Clock& clock)
    : impl_(std::make_unique<Impl>(std::move(options), clock)) {}
WorkQueue::~WorkQueue() = default;

void WorkQueue::Add(const ObjectKey& key, int priority) {
  const std::lock_guard lock(impl_->mutex);
  impl_->Add(key, priority);
}

void WorkQueue::AddAfter(const ObjectKey& key, Duration delay, int priority) {
  const std::lock_guard lock(impl_->mutex);
  if (delay <= Duration::zero()) return impl_->Add(key, priority);
  impl_->AddAt(key, impl_->clock.Now() + delay, priority);
}

void WorkQueue::AddRateLimited(const ObjectKey& key) {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->shut_down) return;
  if (impl_->metrics) impl_->metrics->retries.Add();
  const TimePoint now = impl_->clock.Now();
  const Duration delay = std::max(impl_->FailureDelay(key), impl_->BucketDelay(now));
  impl_->AddAt(key, now + delay, kPriorityNormal);
}

void WorkQueue::Forget(const ObjectKey& key) {
  const std::lock_guard lock(impl_->mutex);
  impl_->failures.erase(key);
}

std::optional<ObjectKey> WorkQueue::Get() {
  std::unique_lock lock(impl_->mutex);
  while (true) {
    const TimePoint now = impl_->clock.Now();
    impl_->TakeDue(now);
    if (std::optional<ObjectKey> key = impl_->Take(now)) {
      if (!impl_->order.empty()) impl_->changed.notify_one();
      return key;
    }
    if (impl_->shut_down) return std::nullopt;
    const Duration until_next = impl_->alarm.empty() ? kInsurance : impl_->alarm.begin()->first - now;
    impl_->changed.wait_for(lock, std::min(kInsurance, until_next));
  }
}

std::optional<ObjectKey> WorkQueue::TryGet() {
  const std::lock_guard lock(impl_->mutex);
  const TimePoint now = impl_->clock.Now();
  impl_->TakeDue(now);
  return impl_->Take(now);
}

void WorkQueue::Done(const ObjectKey& key) {
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->processing.find(key);
  if (found == impl_->processing.end()) return;
  const TimePoint now = impl_->clock.Now();
  if (impl_->metrics) impl_->metrics->work_seconds.Observe(Seconds(now - found->second));
  impl_->processing.erase(found);
  if (const auto added = impl_->again.find(key); added != impl_->again.end()) {
    const int priority = added->second;
    impl_->again.erase(added);
    impl_->DropDelay(key);
    impl_->Enqueue(key, priority, now);
  }
  impl_->UpdateGauges();
  if (impl_->shut_down) impl_->changed.notify_all();
}

void WorkQueue::ShutDown() {
  const std::lock_guard lock(impl_->mutex);
  impl_->shut_down = true;
  impl_->delayed.clear();
  impl_->alarm.clear();
  impl_->changed.notify_all();
}

void WorkQueue::ShutDownAndDrop() {
  const std::lock_guard lock(impl_->mutex);
  impl_->shut_down = true;
  impl_->delayed.clear();
  impl_->alarm.clear();
  impl_->waiting.clear();
  impl_->order.clear();
  impl_->again.clear();
  impl_->changed.notify_all();
}

size_t WorkQueue::Ready() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->waiting.size();
}

size_t WorkQueue::Delayed() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->delayed.size();
}

size_t WorkQueue::Processing() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->processing.size();
}

std::optional<TimePoint> WorkQueue::NextDelayed() const {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->alarm.empty()) return std::nullopt;
  return impl_->alarm.begin()->first;
}

}  // namespace patella::kube
