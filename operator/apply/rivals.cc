#include "operator/apply/rivals.h"

#include <algorithm>

#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/api_error.h"
#include "lib/kube/lease.h"

namespace patella::apply {

Rivals::Rivals(kube::Client* client, const Clock& clock, std::string own)
    : client_(client), clock_(clock), own_(std::move(own)) {}

absl::StatusOr<Rivals::Verdict> Rivals::Judge(const std::set<std::string>& names) {
  Verdict verdict;
  if (own_.empty()) return verdict;
  const bool ours_too = names.contains(own_);
  for (const std::string& name : names) {
    if (name == own_) continue;
    PATELLA_ASSIGN_OR_RETURN(const Life life, LifeOf(name));
    if (life == Life::kAlive) verdict.who = name;
    const bool yields = !ours_too || (life == Life::kAlive && name < own_);
    verdict.hands_off = verdict.hands_off || (life != Life::kGone && yields);
  }
  return verdict;
}

absl::StatusOr<Rivals::Life> Rivals::LifeOf(const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return Life::kGone;  // somebody's own words
  const absl::StatusOr<kube::ObjectPtr> object =
      client_->Get(kube::kLeases, name.substr(0, slash), name.substr(slash + 1));
  if (kube::IsNotFound(object.status()) || kube::IsForbidden(object.status())) return Life::kGone;
  PATELLA_RETURN_IF_ERROR(object.status());
  PATELLA_ASSIGN_OR_RETURN(const kube::LeaseRecord lease, kube::ParseLease(**object));
  if (lease.holder.empty()) return Life::kGone;  // given up, as a graceful end does

  const std::lock_guard lock(mutex_);
  const TimePoint now = clock_.Now();
  const std::string record = StrCat(lease.holder, " ", lease.acquire_time, " ", lease.renew_time);
  const auto [it, first] = seen_.try_emplace(name, Seen{record, now});
  Seen& seen = it->second;
  if (!first && seen.record != record) seen = {record, now, /*changed=*/true};
  if (now - seen.since > std::chrono::seconds(std::max(1, lease.duration_seconds))) return Life::kGone;
  return seen.changed ? Life::kAlive : Life::kUnknown;
}

}  // namespace patella::apply
