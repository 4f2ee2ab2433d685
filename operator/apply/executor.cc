#include "operator/apply/executor.h"

#include <algorithm>
#include <set>

#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "operator/apply/equal.h"
#include "operator/apply/views.h"

namespace patella::apply {
namespace {

using render::Child;
using render::Owner;

constexpr Duration kPeersGood = std::chrono::minutes(30);  // certificates that were, before they are read again

kube::ObjectKey KeyOf(const Owner& owner) { return {owner.namespace_name, owner.name}; }

std::string Place(const kube::Resource& resource, std::string_view namespace_name, std::string_view name) {
  return StrCat(kube::QualifiedName(resource), " ", namespace_name, "/", name);
}

// Ours, or why it is not.
absl::Status CheckOwner(const kube::Object& live, const Child& child, const Owner& owner) {
  if (live.controller_uid() == owner.uid) return absl::OkStatus();
  const std::string what = Place(child.resource, owner.namespace_name, child.name);
  if (live.controller_kind() == kube::kInferenceDeployments.kind && live.controller_name() == owner.name) {
    return absl::UnavailableError(StrCat(what, " still belongs to a deleted InferenceDeployment of this name"));
  }
  return absl::AlreadyExistsError(
      StrCat(what, " exists and belongs to ",
             live.controller_name().empty() ? "nobody" : StrCat(live.controller_kind(), " ", live.controller_name()),
             ": it is left alone. Remove it, or rename the InferenceDeployment"));
}

}  // namespace

Executor::Executor(kube::Client* client, std::vector<kube::Cache*> children, const Clock& clock,
                   std::function<WallTime()> wall_time)
    : client_(client), children_(std::move(children)), clock_(clock), wall_time_(std::move(wall_time)) {}

kube::Cache* Executor::CacheOf(const kube::Resource& resource) const {
  for (kube::Cache* cache : children_) {
    if (cache->resource().kind == resource.kind) return cache;
  }
  return nullptr;
}

void Executor::Wrote(kube::Cache* cache, const kube::Object& object, const Owner& owner) {
  if (cache == nullptr) return;
  cache->Wrote(object, clock_.Now());
  const std::lock_guard lock(mutex_);
  written_[KeyOf(owner)].push_back({cache, object.key()});
}

bool Executor::SeesWrites(const kube::ObjectKey& owner) const {
  const std::lock_guard lock(mutex_);
  const auto found = written_.find(owner);
  if (found == written_.end()) return true;
  std::erase_if(found->second, [this](const Written& w) { return w.cache->SeesWrites(w.key, clock_.Now()); });
  if (!found->second.empty()) return false;
  written_.erase(found);
  return true;
}

void Executor::Forget(const kube::ObjectKey& owner) {
  const std::lock_guard lock(mutex_);
  written_.erase(owner);
  good_peers_.erase(owner);
  stored_.erase(owner);
}

// From the cache, or where that has none from the API server: it may be there without our label.
absl::StatusOr<kube::ObjectPtr> Executor::Live(const Child& child, const Owner& owner) {
  kube::Cache* cache = CacheOf(child.resource);
  kube::ObjectPtr live = cache == nullptr ? nullptr : cache->Get(owner.namespace_name, child.name);
  if (live != nullptr && live->controller_uid() == owner.uid) return live;
  absl::StatusOr<kube::ObjectPtr> got = client_->Get(child.resource, owner.namespace_name, child.name);
  if (kube::IsNotFound(got.status())) return kube::ObjectPtr();
  if (!got.ok()) return got.status();
  PATELLA_RETURN_IF_ERROR(CheckOwner(**got, child, owner));
  return got;
}

absl::Status Executor::ApplyChild(const Child& child, const Owner& owner, std::vector<Deed>* deeds) {
  PATELLA_ASSIGN_OR_RETURN(const kube::ObjectPtr live, Live(child, owner));
  kube::Cache* cache = CacheOf(child.resource);
  const std::string place = Place(child.resource, owner.namespace_name, child.name);
  if (live != nullptr) {
    // A revision's settings are for life, and what is in the Lease is the sidecars'.
    if (child.immutable || child.create_only) return absl::OkStatus();
    // An intent that gives up a field shows by its hash, which is in an annotation.
    if (Covers(live->json(), child.json)) return absl::OkStatus();
    const std::lock_guard lock(mutex_);
    const auto& of_owner = stored_[KeyOf(owner)];
    const auto stored = of_owner.find(place);
    if (stored != of_owner.end() && stored->second == std::pair(child.json, std::string(live->resource_version())))
      return absl::OkStatus();
  }
  absl::StatusOr<kube::ObjectPtr> done =
      child.create_only ? client_->Create(child.resource, owner.namespace_name, child.json, {.manager = kManager})
                        : client_->Apply(child.resource, owner.namespace_name, child.name, child.json,
                                         {.manager = kManager, .force = true});
  if (child.create_only && kube::IsAlreadyExists(done.status())) return absl::OkStatus();
  if (!done.ok()) return done.status();
  Wrote(cache, **done, owner);
  {
    const std::lock_guard lock(mutex_);
    stored_[KeyOf(owner)][place] = {child.json, std::string((*done)->resource_version())};
  }
  if (live == nullptr || live->resource_version() != (*done)->resource_version())
    deeds->push_back({live == nullptr ? Deed::Kind::kCreated : Deed::Kind::kChanged, child.resource, child.name});
  return absl::OkStatus();
}

absl::Status Executor::Scale(const reconcile::RetainedDeployment& retained, const Owner& owner,
                             std::vector<Deed>* deeds) {
  kube::Cache* cache = CacheOf(kube::kDeployments);
  const kube::ObjectPtr live = cache->Get(owner.namespace_name, retained.name);
  if (live == nullptr || live->uid() != retained.uid) return absl::OkStatus();  // gone meanwhile
  const std::string patch = render::RenderRetained(retained);
  if (Covers(live->json(), patch)) return absl::OkStatus();
  const absl::StatusOr<kube::ObjectPtr> done =
      client_->MergePatch(kube::kDeployments, owner.namespace_name, retained.name, patch, {.manager = kManager});
  if (kube::IsNotFound(done.status())) return absl::OkStatus();
  if (!done.ok()) return done.status();
  Wrote(cache, **done, owner);
  deeds->push_back({Deed::Kind::kScaled, kube::kDeployments, retained.name});
  return absl::OkStatus();
}

absl::Status Executor::Mark(const kube::Object& deployment, const Owner& owner) {
  const absl::StatusOr<kube::ObjectPtr> done =
      client_->MergePatch(kube::kDeployments, owner.namespace_name, deployment.name(),
                          render::RenderMark(deployment.uid(), owner.operator_name), {.manager = kManager});
  if (kube::IsNotFound(done.status()) || kube::IsConflict(done.status())) return absl::OkStatus();  // gone meanwhile
  if (!done.ok()) return done.status();
  Wrote(CacheOf(kube::kDeployments), **done, owner);
  return absl::OkStatus();
}

// What is there, if it is still good; else new ones.
absl::StatusOr<Child> Executor::Peers(const reconcile::PeerSecret& secret, const Owner& owner) {
  PATELLA_ASSIGN_OR_RETURN(const kube::ObjectPtr live, Live({.resource = kube::kSecrets, .name = secret.name}, owner));
  render::PeerCertificates certificates;
  if (live != nullptr) {
    certificates = {SecretValue(live->json(), "ca.crt"), SecretValue(live->json(), "tls.crt"),
                    SecretValue(live->json(), "tls.key")};
  }
  const std::string seen = StrCat(live == nullptr ? "" : live->resource_version(), " ", Join(secret.dns_names, " "));
  {
    const std::lock_guard lock(mutex_);
    const auto good = good_peers_.find(KeyOf(owner));
    if (good != good_peers_.end() && good->second.first == seen && clock_.Now() < good->second.second)
      return render::RenderPeers(secret, certificates, owner);
  }
  if (NeedsRenewal(certificates, secret.dns_names, wall_time_())) {
    PATELLA_ASSIGN_OR_RETURN(certificates, MakePeerCertificates(secret.dns_names, wall_time_(), certificates.ca));
  } else {
    const std::lock_guard lock(mutex_);
    good_peers_[KeyOf(owner)] = {seen, clock_.Now() + kPeersGood};
  }
  return render::RenderPeers(secret, certificates, owner);
}

absl::Status Executor::RemoveRest(const reconcile::Plan& plan, const std::vector<Child>& planned, const Owner& owner,
                                  std::vector<Deed>* deeds) {
  std::set<std::pair<std::string_view, std::string_view>> keep;
  for (const Child& child : planned) keep.emplace(child.resource.kind, child.name);
  for (const reconcile::RetainedDeployment& retained : plan.retained) {
    keep.emplace(kube::kDeployments.kind, retained.name);
    keep.emplace(kube::kConfigMaps.kind, retained.name);  // its settings
  }
  for (kube::Cache* cache : children_) {
    if (cache->resource().kind == kube::kSecrets.kind) continue;  // one for the deployment's whole life
    for (const kube::ObjectPtr& live : cache->ByController(owner.uid)) {
      if (live->deleting() || keep.contains({live->kind(), live->name()})) continue;
      const absl::Status status =
          client_->Delete(cache->resource(), live->namespace_name(), live->name(), {.uid = std::string(live->uid())});
      if (kube::IsNotFound(status) || kube::IsConflict(status)) continue;  // gone, or another by now
      PATELLA_RETURN_IF_ERROR(status);
      {
        const std::lock_guard lock(mutex_);
        stored_[KeyOf(owner)].erase(Place(cache->resource(), live->namespace_name(), live->name()));
      }
      deeds->push_back({Deed::Kind::kDeleted, cache->resource(), std::string(live->name())});
    }
  }
  return absl::OkStatus();
}

absl::Status Executor::Execute(const reconcile::Plan& plan, const Owner& owner, std::vector<Deed>* deeds) {
  const std::vector<Child> planned = render::Render(plan, owner);
  // Old revisions give up pods before the new one asks for more.
  for (const reconcile::RetainedDeployment& retained : plan.retained) {
    PATELLA_RETURN_IF_ERROR(Scale(retained, owner, deeds));
  }
  if (plan.peers) {
    PATELLA_ASSIGN_OR_RETURN(const Child peers, Peers(*plan.peers, owner));
    PATELLA_RETURN_IF_ERROR(ApplyChild(peers, owner, deeds));
  }
  for (const Child& child : planned) PATELLA_RETURN_IF_ERROR(ApplyChild(child, owner, deeds));
  return RemoveRest(plan, planned, owner, deeds);
}

}  // namespace patella::apply
