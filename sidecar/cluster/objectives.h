// The object's objectives against what its serving replicas have measured (lib/science/feasible.h). Pure.
//
// One replica stands for all of the serving revision: the one with the median limit, as in status. Nothing is judged before one has
// measured itself, nor with tuning Off, where the ceiling holds whatever the targets say.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/api/inference_deployment.h"
#include "lib/science/feasible.h"
#include "sidecar/cluster/report.h"

namespace patella::sidecar {

// Who serves: the revision with that role, else that of the first report. "": nobody reports.
std::string ServingRevision(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports);

science::ObjectiveSet ObjectivesOf(const api::InferenceDeployment& object, const std::string& revision);

// `slack` as in JudgeObjectives. Its shortfall is kNone, and its limit 0, where nothing can be judged.
science::Feasibility Judge(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports,
                           double slack);

// For status.nearestFeasible.
std::vector<api::Relaxation> NearestFeasible(const science::Feasibility& judged, const api::InferenceDeployment& object,
                                             const std::string& revision);

// Dollars an hour for all pods of all revisions whose price the object tells; 0: none does.
double CostPerHour(const api::InferenceDeployment& object);

}  // namespace patella::sidecar
