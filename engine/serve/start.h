// From settings to a serving engine.
#pragma once

#include <span>
#include <string>

#include "absl/status/status.h"
#include "lib/base/settings.h"

namespace patella::engine {

std::span<const Setting> EngineSettings();

// Serves until SIGINT or SIGTERM: the first drains (503 to new work, running requests finish), the second ends now.
// Errors name the setting or file that is wrong and the remedy.
absl::Status Serve(const Settings& settings, const std::string& version);

}  // namespace patella::engine
