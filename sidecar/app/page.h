// The status page: one self-contained HTML document that polls /status.json. No outside asset.
#pragma once

#include <string_view>

namespace patella::sidecar {

std::string_view StatusPage();

}  // namespace patella::sidecar
