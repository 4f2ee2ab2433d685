// Before the caches start: does this API server serve what the operator needs, and may it read that?
//
// Errors say what is wrong and how to mend it: no way to the server, its certificate, the token, a missing or older CRD, a right that is missing.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/kube/rest_client.h"

namespace patella::controller {

// The definitions (lib/api/schema_check.h), then one list of at most one object for each resource that the operator watches, in each namespace.
absl::Status Preflight(kube::RestClient& client, const std::vector<std::string>& namespaces);

}  // namespace patella::controller
