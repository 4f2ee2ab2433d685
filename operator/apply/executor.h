// Makes a Plan true with as few calls as can be: none if the caches show that all is there.
//
// Children are written by server-side apply under the manager patella-operator, so that a user's own labels, sidecars and tolerations on them
// survive; what exists under a planned name and is not ours is left alone (AlreadyExists says so). What is no longer planned is deleted, with the
// uid seen as a precondition. Thread-safe; one deployment is with one thread at a time (the work queue sees to that).
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/clock.h"
#include "lib/kube/cache.h"
#include "lib/kube/client.h"
#include "operator/apply/peers.h"
#include "operator/reconcile/plan.h"
#include "operator/render/render.h"

namespace patella::apply {

inline constexpr char kManager[] = "patella-operator";
inline constexpr char kStatusManager[] = "patella-operator-status";

// What was done to a child, for events.
struct Deed {
  enum class Kind { kCreated, kChanged, kScaled, kDeleted } kind;
  kube::Resource resource;
  std::string name;
};

class Executor {
 public:
  // `children`: a cache of each kind that render makes. All outlive the executor.
  Executor(kube::Client* client, std::vector<kube::Cache*> children, const Clock& clock,
           std::function<WallTime()> wall_time);

  // Children, then what is too much. The first error ends it; the same call again goes on. Not called with plan.hold.
  absl::Status Execute(const reconcile::Plan& plan, const render::Owner& owner, std::vector<Deed>* deeds);

  // Puts the owner's operator_name on one of its Deployments, and touches nothing else.
  absl::Status Mark(const kube::Object& deployment, const render::Owner& owner);

  // False while the caches do not show what was last written for this deployment: planning now would look at the past.
  bool SeesWrites(const kube::ObjectKey& owner) const;

  void Forget(const kube::ObjectKey& owner);

 private:
  struct Written {
    kube::Cache* cache;
    kube::ObjectKey key;
  };
  kube::Cache* CacheOf(const kube::Resource& resource) const;
  absl::Status ApplyChild(const render::Child& child, const render::Owner& owner, std::vector<Deed>* deeds);
  absl::StatusOr<kube::ObjectPtr> Live(const render::Child& child, const render::Owner& owner);
  absl::Status Scale(const reconcile::RetainedDeployment& retained, const render::Owner& owner,
                     std::vector<Deed>* deeds);
  absl::StatusOr<render::Child> Peers(const reconcile::PeerSecret& secret, const render::Owner& owner);
  absl::Status RemoveRest(const reconcile::Plan& plan, const std::vector<render::Child>& planned,
                          const render::Owner& owner, std::vector<Deed>* deeds);
  void Wrote(kube::Cache* cache, const kube::Object& object, const render::Owner& owner);

  kube::Client* const client_;
  const std::vector<kube::Cache*> children_;
  const Clock& clock_;
  const std::function<WallTime()> wall_time_;

  mutable std::mutex mutex_;
  mutable std::map<kube::ObjectKey, std::vector<Written>> written_;  // by owner
  // The version in which an intent was last stored, by owner, then kind and name: an API server that drops or rewrites a field is not asked for ever.
  std::map<kube::ObjectKey, std::map<std::string, std::pair<std::string, std::string>>> stored_;
  // Reading certificates is a third of a reconcile's cost: the Secret's version and names that were good, and until when that holds, by owner.
  std::map<kube::ObjectKey, std::pair<std::string, TimePoint>> good_peers_;
};

}  // namespace patella::apply
