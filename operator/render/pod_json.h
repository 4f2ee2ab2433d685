// The pod template as JSON. Internal to operator/render.
#pragma once

#include <nlohmann/json.hpp>

#include "operator/reconcile/plan.h"

namespace patella::render {

nlohmann::json PodJson(const reconcile::PodTemplate& pod);

}  // namespace patella::render
