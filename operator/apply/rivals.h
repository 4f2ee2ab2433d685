// Two operators by mistake: whether another one works on the same objects.
//
// Each operator writes the name of its Lease on the Deployments it makes (kOperatorAnnotation). Where another name stands there, that Lease tells
// whether its operator lives: it is held, and its record has been seen to change (this machine's clock alone counts, as in lib/kube/lease.h).
// Replicas of one installation share a Lease and are no rivals. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/kube/client.h"

namespace patella::apply {

class Rivals {
 public:
  // `own`: "namespace/name" of this operator's Lease, elected or not; "": nobody is looked for, as in `patella up`.
  Rivals(kube::Client* client, const Clock& clock, std::string own);

  struct Verdict {
    bool hands_off = false;  // the objects are another's, or it is not known yet whether it lives
    std::string who;         // the Lease of the one that lives; "" if none is known to
  };
  // `names` as they stand on an object's Deployments. Where ours stands beside another's, the first by name goes on. An error is that of reading
  // the other's Lease; one that may not be read is as good as absent.
  absl::StatusOr<Verdict> Judge(const std::set<std::string>& names);

 private:
  enum class Life { kUnknown, kAlive, kGone };
  struct Seen {
    std::string record;  // holder and times
    TimePoint since;     // when it was first seen like this
    bool changed = false;
  };
  absl::StatusOr<Life> LifeOf(const std::string& name);

  kube::Client* const client_;
  const Clock& clock_;
  const std::string own_;
  std::mutex mutex_;
  std::map<std::string, Seen> seen_;  // by Lease
};

}  // namespace patella::apply
