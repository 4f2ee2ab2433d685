// One publication written to the API server: /scale, then status. Blocks for the calls' time; the publishing thread's alone.
//
// /scale is written against the object that the decision was made from: had the user changed it since (its mode, its replicas), nothing
// is written and the next round decides anew. Status is written whether or not /scale could be, and tells only of what was done.
#pragma once

#include "absl/status/status.h"
#include "lib/kube/client.h"
#include "sidecar/cluster/publish.h"

namespace patella::sidecar {

inline constexpr char kAutotuner[] = "patella-autotuner";  // the field manager

// The first error that is worth telling; a conflict on /scale is none. `publisher` learns of what failed and makes it again.
absl::Status WritePublication(kube::Client& client, const api::InferenceDeployment& object, const Publication& out,
                              Publisher& publisher);

}  // namespace patella::sidecar
