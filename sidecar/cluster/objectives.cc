#include "sidecar/cluster/objectives.h"

#include <algorithm>

#include "lib/api/to_science.h"
#include "lib/base/text.h"
#include "sidecar/tuner/options.h"

namespace patella::sidecar {
namespace {

const api::RevisionStatus* Find(const api::InferenceDeployment& object, const std::string& revision) {
  for (const api::RevisionStatus& r : object.status.revisions) {
    if (r.hash == revision) return &r;
  }
  return nullptr;
}

// Of the replicas of that revision that have measured themselves, the one with the median limit.
const PeerReport* Typical(const std::vector<PeerReport>& reports, const std::string& revision) {
  std::vector<const PeerReport*> measured;
  for (const PeerReport& r : reports) {
    if (r.revision == revision && HasCurve(r.learned)) measured.push_back(&r);
  }
  if (measured.empty()) return nullptr;
  std::stable_sort(measured.begin(), measured.end(),
                   [](const PeerReport* a, const PeerReport* b) { return a->learned.limit < b->learned.limit; });
  return measured[(measured.size() - 1) / 2];
}

}  // namespace

std::string ServingRevision(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports) {
  for (const api::RevisionStatus& r : object.status.revisions) {
    if (r.role == api::RevisionRole::kServing) return r.hash;
  }
  return reports.empty() ? "" : reports.front().revision;
}

science::ObjectiveSet ObjectivesOf(const api::InferenceDeployment& object, const std::string& revision) {
  const api::InferenceDeploymentSpec& spec = object.spec;
  science::ObjectiveSet out;
  out.targets = api::ToTargets(spec.objectives);
  out.min_tokens_per_second = spec.objectives.throughput.min_tokens_per_second.value_or(0);
  out.max_per_hour = api::ToMoney(spec.objectives.cost.max_per_hour);
  out.max_per_million = api::ToMoney(spec.objectives.cost.max_per_million_tokens);
  out.ceiling = spec.max_concurrent_requests.value_or(kDefaultCeiling);
  out.min_replicas = spec.scaling.min_replicas;
  out.max_replicas = spec.scaling.max_replicas;
  if (spec.scaling.mode == api::ScalingMode::kOff) {  // nobody changes them
    out.min_replicas = out.max_replicas = std::max(1, std::min(spec.replicas, spec.scaling.max_replicas));
    out.replicas_name = "replicas";
  }
  const api::RevisionStatus* r = Find(object, revision);
  if (r == nullptr || r->accelerator_class.empty()) return out;
  out.max_accelerators = spec.hardware.max_accelerators.value_or(0);
  out.accelerators_per_replica = r->tensor_parallel_size.value_or(1);
  out.replica_per_hour = api::ToMoney(r->replica_cost_per_hour);
  return out;
}

science::Feasibility Judge(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports,
                           double slack) {
  if (object.spec.tuning.mode == api::TuningMode::kOff) return {};
  const std::string revision = ServingRevision(object, reports);
  const PeerReport* typical = Typical(reports, revision);
  if (typical == nullptr) return {};
  const Learned& learned = typical->learned;
  science::ReplicaFigures replica{.model = learned.step_model,
                                  .level = learned.level,
                                  .payload = learned.payload,
                                  .spreads = learned.spreads,
                                  .most = learned.most};
  if (learned.bound_by != "Ceiling" && learned.bound_by != "KvCapacity") replica.knee = learned.limit;
  return science::JudgeObjectives(replica, ObjectivesOf(object, revision), slack);
}

std::vector<api::Relaxation> NearestFeasible(const science::Feasibility& judged, const api::InferenceDeployment& object,
                                             const std::string& revision) {
  std::vector<api::Relaxation> out;
  const api::RevisionStatus* r = Find(object, revision);
  for (const science::Relaxation& relaxation : judged.relaxations) {
    api::Relaxation& entry = out.emplace_back();
    entry.objective = relaxation.objective;
    entry.nearest = relaxation.nearest;
    if (relaxation.replicas > 0) entry.replicas = relaxation.replicas;
    if (r == nullptr) continue;
    entry.accelerator_class = r->accelerator_class;
    entry.tensor_parallel_size = r->tensor_parallel_size;
  }
  return out;
}

double CostPerHour(const api::InferenceDeployment& object) {
  double cost = 0;
  for (const api::RevisionStatus& r : object.status.revisions)
    cost += api::ToDouble(r.replica_cost_per_hour) * r.replicas.value_or(0);
  return cost;
}

}  // namespace patella::sidecar
