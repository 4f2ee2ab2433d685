// Two operators by mistake: whether another one works on the same objects.
//
// Each operator writes the name of its Lease on the Deployments it works on (kOperatorAnnotation). Where another name stands there, that Lease
// tells whether its operator lives: it is held, and its record has been seen to change (this machine's clock alone counts, as in
// lib/kube/lease.h). Where the Lease cannot be read (it is another namespace's, or nobody is elected there), the names themselves tell: our name
// is put there and nothing else is done; an operator that lives takes its place back at once, and one that does not within kAnswer is gone. Our
// name that another took is proof too. Of two that live and both have had their names there, the first by name goes on; the other asks again
// every kAskAgain. Replicas of one installation share a Lease and are no rivals. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/kube/client.h"

namespace patella::apply {

inline constexpr Duration kAnswer = std::chrono::seconds(30);
inline constexpr Duration kAskAgain = std::chrono::minutes(2);
inline constexpr Duration kRemembered = std::chrono::minutes(5);  // who asked once, by the one that goes on

class Rivals {
 public:
  // `own`: "namespace/name" of this operator's Lease, elected or not; "": nobody is looked for, as in `patella up`.
  Rivals(kube::Client* client, const Clock& clock, std::string own);

  using Marks = std::map<std::string, std::string>;  // the name on each Deployment, by its uid

  struct Verdict {
    bool hands_off = false;         // the objects are another's, or it is not known yet whether it lives
    std::string who;                // the Lease of the one that lives; "" if none is known to
    std::set<std::string> replace;  // where these stand, our name is to be put: to ask, or because we go on
  };
  // `marks` as they stand on an object's Deployments; one object is with one thread at a time. An error is that of reading the other's Lease.
  absl::StatusOr<Verdict> Judge(const kube::ObjectKey& object, const Marks& marks);
  // Our name was put where `before` stood, by a verdict that does, or does not, hand off.
  void Replaced(const kube::ObjectKey& object, const std::string& uid, const std::string& before, bool hands_off);
  void Forget(const kube::ObjectKey& object);

 private:
  enum class Life { kUnknown, kAlive, kGone };
  struct Seen {
    std::string record;  // holder and times
    TimePoint since;     // when it was first seen like this
    bool changed = false;
  };
  struct Claims {                            // on one object
    std::set<std::string> ours;              // Deployments that bore our name when last seen
    std::map<std::string, TimePoint> taken;  // when another last put its name in place of ours
    std::map<std::string, TimePoint> asked;  // when we last put ours in place of its, and it did not answer yet
  };
  // Nothing: it cannot be read.
  absl::StatusOr<std::optional<Life>> LifeByLease(const std::string& name);
  struct Finding {
    Life life;
    bool ours_too = false;  // our name has stood beside the other's, or in its place
    bool ask = false;
  };
  Finding FindByMarks(const std::string& name, bool ours_stands, bool theirs_stands, const Claims& claims) const;
  Claims& ClaimsOf(const kube::ObjectKey& object);

  kube::Client* const client_;
  const Clock& clock_;
  const std::string own_;
  std::mutex mutex_;
  std::map<std::string, Seen> seen_;  // by Lease
  std::map<kube::ObjectKey, Claims> claims_;
};

}  // namespace patella::apply
