// The condition Contested of an InferenceDeployment: that two operators have it in hand, told by the one that leaves it alone.
//
// It has a field manager of its own, so that the other's status is not touched. The one that works on the object takes away what has stood there
// for kStale: if its author is still there, it says so again; if not, nobody else would. Thread-safe; one object is with one thread at a time.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/kube/cache.h"
#include "lib/kube/client.h"
#include "operator/apply/peers.h"

namespace patella::apply {

inline constexpr char kContestManager[] = "patella-operator-contest";
inline constexpr Duration kStale = std::chrono::minutes(10);

class Contest {
 public:
  // `objects`: the cache of InferenceDeployments.
  Contest(kube::Client* client, kube::Cache* objects, const Clock& clock, std::function<WallTime()> wall_time);

  // Nothing is written where it stands already.
  absl::Status Tell(const kube::Object& object, const std::string& message);
  // By the one that works on the object; `over`: the other is known to be gone. When to look again; nothing if it does not stand there.
  absl::StatusOr<std::optional<Duration>> Clear(const kube::Object& object, bool over);
  void Forget(const kube::ObjectKey& object);

 private:
  absl::Status Write(const kube::Object& object, const std::string& status);

  kube::Client* const client_;
  kube::Cache* const objects_;
  const Clock& clock_;
  const std::function<WallTime()> wall_time_;
  std::mutex mutex_;
  std::map<kube::ObjectKey, TimePoint> since_;  // when it was first seen there
};

}  // namespace patella::apply
