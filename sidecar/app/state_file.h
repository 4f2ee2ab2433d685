// The learned limit over a restart: one small JSON file in STATE_DIR, replaced atomically.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "sidecar/tuner/options.h"

namespace patella::sidecar {

// Empty if there is none, if it cannot be read, or if it was learned for other targets, workload or ceiling: then it would mislead.
Learned ReadState(const std::string& folder, const TunerOptions& options);

absl::Status WriteState(const std::string& folder, const Learned& learned);

}  // namespace patella::sidecar
