// Runs a credential plugin (client.authentication.k8s.io): aws, gke-gcloud-auth-plugin, kubelogin and their kin.
//
// Blocks until the program has ended, at most a minute. Its stderr is ours. Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/kube/kubeconfig.h"

namespace patella::kube {

struct ExecCredential {
  std::string token;
  std::string client_certificate_pem, client_key_pem;
  std::optional<Duration> valid_for;  // from now; nullopt: for ever
};

// NotFound: no such program (with its install hint). FailedPrecondition: it failed, or its answer is unusable.
absl::StatusOr<ExecCredential> RunExecPlugin(const ExecPlugin& plugin, const ClusterAccess& access,
                                             Duration timeout = std::chrono::minutes(1));

// Reads what a plugin printed. `now_unix` in seconds. Exposed for tests.
absl::StatusOr<ExecCredential> ParseExecCredential(std::string_view json, const ExecPlugin& plugin, int64_t now_unix);

}  // namespace patella::kube
