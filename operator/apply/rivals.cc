#include "operator/apply/rivals.h"

#include <algorithm>

#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/api_error.h"
#include "lib/kube/lease.h"

namespace patella::apply {

Rivals::Rivals(kube::Client* client, const Clock& clock, std::string own)
    : client_(client), clock_(clock), own_(std::move(own)) {}

absl::StatusOr<Rivals::Verdict> Rivals::Judge(const kube::ObjectKey& object, const Marks& marks) {
  Verdict verdict;
  if (own_.empty()) return verdict;
  Claims& claims = ClaimsOf(object);
  std::set<std::string> standing;
  for (const auto& [uid, name] : marks) {
    if (name == own_) claims.ours.insert(uid);
    if (name == own_ || name.find('/') == std::string::npos) continue;  // somebody's own words
    standing.insert(name);
    if (claims.ours.erase(uid) == 0) continue;
    claims.taken[name] = clock_.Now();
    claims.asked.erase(name);
  }
  std::erase_if(claims.ours, [&](const std::string& uid) { return !marks.contains(uid); });

  std::set<std::string> others = standing;
  for (const auto& [name, at] : claims.taken) others.insert(name);
  for (const auto& [name, at] : claims.asked) others.insert(name);
  const bool ours_stands = !claims.ours.empty();
  for (const std::string& name : others) {
    PATELLA_ASSIGN_OR_RETURN(const std::optional<Life> by_lease, LifeByLease(name));
    const Finding found = by_lease ? Finding{*by_lease, ours_stands || claims.taken.contains(name)}
                                   : FindByMarks(name, ours_stands, standing.contains(name), claims);
    if (found.life == Life::kAlive) verdict.who = name;
    if (found.life == Life::kGone) claims.taken.erase(name), claims.asked.erase(name);
    if (found.ask) verdict.replace.insert(name);
    const bool yields = !found.ours_too || (found.life == Life::kAlive && name < own_);
    verdict.hands_off = verdict.hands_off || (found.life != Life::kGone && yields);
  }
  if (!verdict.hands_off) verdict.replace = standing;
  return verdict;
}

void Rivals::Replaced(const kube::ObjectKey& object, const std::string& uid, const std::string& before,
                      bool hands_off) {
  Claims& claims = ClaimsOf(object);
  claims.ours.insert(uid);
  if (hands_off) claims.asked.try_emplace(before, clock_.Now());
}

void Rivals::Forget(const kube::ObjectKey& object) {
  const std::lock_guard lock(mutex_);
  claims_.erase(object);
}

Rivals::Claims& Rivals::ClaimsOf(const kube::ObjectKey& object) {
  const std::lock_guard lock(mutex_);
  return claims_[object];
}

Rivals::Finding Rivals::FindByMarks(const std::string& name, bool ours_stands, bool theirs_stands,
                                    const Claims& claims) const {
  const TimePoint now = clock_.Now();
  const auto taken = claims.taken.find(name), asked = claims.asked.find(name);
  const bool proven = taken != claims.taken.end(), waiting = asked != claims.asked.end();
  const bool goes_first = name < own_;
  if (proven && now - taken->second < (goes_first ? kAskAgain : kRemembered)) return {Life::kAlive, true};
  if (waiting && now - asked->second < kAnswer) return {Life::kUnknown};
  if (!waiting && theirs_stands && (!ours_stands || (proven && goes_first)))
    return {Life::kUnknown, /*ours_too=*/false, /*ask=*/true};
  return {Life::kGone};  // no answer; or it has never taken our name away, as who works on an object does
}

absl::StatusOr<std::optional<Rivals::Life>> Rivals::LifeByLease(const std::string& name) {
  const size_t slash = name.find('/');
  const absl::StatusOr<kube::ObjectPtr> object =
      client_->Get(kube::kLeases, name.substr(0, slash), name.substr(slash + 1));
  if (kube::IsNotFound(object.status()) || kube::IsForbidden(object.status())) return std::nullopt;
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
