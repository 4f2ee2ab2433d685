#include "operator/app/check.h"

#include <string>
#include <thread>

#include "lib/base/text.h"
#include "operator/app/preflight.h"

namespace patella::controller {
namespace {

constexpr auto kPause = std::chrono::milliseconds(500);

// The Lease as it is now: its version, or why it tells nothing.
absl::StatusOr<std::string> LeaseVersion(kube::RestClient& client, const Config& config) {
  const absl::StatusOr<kube::ObjectPtr> lease = client.Get(kube::kLeases, config.pod_namespace, config.lease_name);
  if (lease.ok()) return std::string((*lease)->resource_version());
  if (!kube::IsNotFound(lease.status())) return lease.status();
  return absl::NotFoundError(StrCat("there is no Lease ", config.pod_namespace, "/", config.lease_name,
                                    ": no operator has started yet; look at the log of its pods"));
}

}  // namespace

absl::Status Check(kube::RestClient& client, const Config& config, const Clock& clock, Duration patience) {
  const TimePoint deadline = clock.Now() + patience;
  std::string first;
  while (true) {
    absl::Status status = Preflight(client, config.namespaces);
    if (status.ok() && config.leader_election) {
      const absl::StatusOr<std::string> version = LeaseVersion(client, config);
      status = version.status();
      if (version.ok()) {
        if (first.empty()) first = *version;
        if (*version == first) {
          status = absl::UnavailableError(StrCat("nobody renews the Lease ", config.pod_namespace, "/",
                                                 config.lease_name, ": the operator that held it is gone"));
        }
      }
    }
    if (status.ok() || clock.Now() >= deadline) return status;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace patella::controller
