// `patella-operator --check`: is an operator at work here? `helm test` runs it in a pod with the operator's own rights.
#pragma once

#include "absl/status/status.h"
#include "lib/base/clock.h"
#include "lib/kube/rest_client.h"
#include "operator/app/config.h"

namespace patella::controller {

// OK once the API server serves Patella's kinds to this account (preflight.h) and, with an election, somebody renews the
// Lease: its record changed while we looked, so that no clock of another machine matters. The error says what was still
// missing after `patience`. Blocks.
absl::Status Check(kube::RestClient& client, const Config& config, const Clock& clock, Duration patience);

}  // namespace patella::controller
