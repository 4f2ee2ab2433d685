// The containers' settings, by how they may change. Pure.
#pragma once

#include <string>
#include <vector>

#include "operator/reconcile/choice.h"
#include "operator/reconcile/inputs.h"

namespace patella::reconcile {

// spec.maxConcurrentRequests for the engine, in the limits ConfigMap: what it begins with.
inline constexpr char kEngineCeiling[] = "ENGINE_MAX_CONCURRENT_REQUESTS";

// The engine's, all of which the revision covers. `model_id` as in model_source.h.
std::vector<Env> EngineSettings(const Inputs& inputs, const Choice& choice, const std::string& model_id);

// What an engine of another maker is told by flags, before the user's own arguments.
std::vector<std::string> EngineArgs(const Inputs& inputs, const Choice& choice, const std::string& model_id);

// The sidecar's: of the pod, and what may change while it runs (targets, ceilings, queue, drain).
std::vector<Env> SidecarSettings(const Inputs& inputs, const std::string& revision);
std::vector<Env> LimitSettings(const Inputs& inputs);

// How long the engine may take to load, seconds: from the weights' size at 100 MB/s where that is known.
int EngineStartSeconds(const api::ModelSpec& model);

// spec.objectives as the sidecar's OBJECTIVES: {"latency":[…],"knee":{…}}.
std::string ObjectivesJson(const api::ObjectivesSpec& objectives);

}  // namespace patella::reconcile
