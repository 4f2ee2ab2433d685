// Every setting of patella-engine: environment variable, flag, check and --help in one list. TGI's names where it has them.
#pragma once

#include <span>

#include "lib/base/settings.h"

namespace patella::engine {

std::span<const Setting> EngineSettings();

}  // namespace patella::engine
