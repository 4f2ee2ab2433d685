// From settings to a serving engine.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "lib/base/settings.h"

namespace patella::engine {

// Serves until SIGINT or SIGTERM: the first drains (503 with Retry-After to new work, running requests finish or are cancelled after
// DRAIN_SECONDS with an error that says so), the second ends now.
// Errors name the setting or file that is wrong and the remedy.
absl::Status Serve(const Settings& settings, const std::string& version);

}  // namespace patella::engine
