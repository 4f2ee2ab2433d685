// Is what we want already there? Pure.
#pragma once

#include <string_view>

namespace patella::apply {

// True if `live` has every field of `intent` with the same value. What the API server or others put in beside (defaults, a user's labels,
// sidecars, tolerations) does not count: lists of named things match by name, quantities by amount ("1" is "1000m").
bool Covers(std::string_view live_json, std::string_view intent_json);

}  // namespace patella::apply
