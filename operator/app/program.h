// The running operator: connection, caches, leader election, workers, and their end in the right order.
//
// Threads: one a cache, `workers` reconcilers, the elector, the event recorder, the health server, lib/kube's io thread, and this one, which waits.
// Start: health → preflight (again and again, with pauses, until it succeeds) → caches (also on a standby) → election → workers.
// Stop (SIGTERM): workers, caches, events, then the Lease, so that another leads at once; health last. None of them
// waits for an API server that does not answer. A lease that is lost ends the process.
#pragma once

#include "absl/status/status.h"
#include "operator/app/config.h"

namespace patella::controller {

// Returns OK after SIGTERM or SIGINT. InvalidArgument: settings or credentials that cannot be right. A lost lease ends the process at once.
absl::Status Run(const Config& config, const std::string& version);

}  // namespace patella::controller
