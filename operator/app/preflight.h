// Before the caches start: does this API server serve what the operator needs, and may it read that?
//
// Errors say what is wrong and how to mend it: no way to the server, its certificate, the token, a missing or older CRD, a right that is missing.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/kube/rest_client.h"

namespace patella::controller {

// One list of at most one object for each resource and namespace; then the CRD's schema.
absl::Status Preflight(kube::RestClient& client, const std::vector<std::string>& namespaces);

// Fields that this operator reads or writes and the served schema (OpenAPI v3 of the group) lacks; empty: all there. Pure.
std::vector<std::string> MissingFields(const std::string& openapi_json);

// All that the operator watches.
const std::vector<kube::Resource>& WatchedResources();

}  // namespace patella::controller
