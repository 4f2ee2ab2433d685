#include <nlohmann/json.hpp>

#include "operator/render/render.h"

namespace patella::render {
namespace {

using nlohmann::json;

constexpr const char* kOwnConditions[] = {"Ready", "CapacityAvailable", "UpdateAvailable", "Reconciling", "Stalled"};

const char* NameOf(reconcile::Role role) {
  switch (role) {
    case reconcile::Role::kTrial:
      return "Trial";
    case reconcile::Role::kRetiring:
      return "Retiring";
    case reconcile::Role::kServing:
      break;
  }
  return "Serving";
}

json StatusOf(std::string_view live) {
  const json object = json::parse(live, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || !object.contains("status") || !object["status"].is_object()) return json::object();
  return object["status"];
}

// The item of a list of objects whose `key` is `value`; null if there is none.
json Item(const json& list, const char* key, const json& value) {
  if (!list.is_array()) return nullptr;
  for (const json& item : list) {
    if (item.is_object() && item.value(key, json()) == value) return item;
  }
  return nullptr;
}

json ConditionJson(const reconcile::Condition& condition, const json& live, int64_t generation, std::string_view now) {
  json out = {{"type", condition.type},           {"status", condition.status ? "True" : "False"},
              {"reason", condition.reason},       {"message", condition.message},
              {"observedGeneration", generation}, {"lastTransitionTime", std::string(now)}};
  const json before = Item(live.value("conditions", json()), "type", condition.type);
  if (before.is_object() && before.value("status", json()) == out["status"] && before.contains("lastTransitionTime"))
    out["lastTransitionTime"] = before["lastTransitionTime"];
  return out;
}

bool Covers(const json& live, const json& intent) {
  for (const auto& [key, value] : intent.items()) {
    if (!live.contains(key) || live[key] != value) return false;
  }
  return true;
}

bool IsOwn(const json& condition) {
  for (const char* type : kOwnConditions) {
    if (condition.value("type", json()) == type) return true;
  }
  return false;
}

}  // namespace

std::string RenderStatus(const reconcile::Plan& plan, const Owner& owner, std::string_view live, std::string_view now) {
  const json live_status = StatusOf(live);
  json status = {{"observedGeneration", plan.status.observed_generation},
                 {"replicas", plan.status.replicas},
                 {"readyReplicas", plan.status.ready_replicas},
                 {"replicaSummary", plan.status.replica_summary},
                 {"selector", plan.status.selector}};
  for (const reconcile::RevisionStatus& r : plan.status.revisions) {
    json item = {{"hash", r.hash},
                 {"role", NameOf(r.role)},
                 {"tensorParallelSize", r.tensor_parallel_size},
                 {"replicas", r.replicas},
                 {"readyReplicas", r.ready_replicas}};
    if (!r.accelerator_class.empty()) item["acceleratorClass"] = r.accelerator_class;
    if (!r.replica_cost_per_hour.empty()) item["replicaCostPerHour"] = r.replica_cost_per_hour;
    status["revisions"].push_back(std::move(item));
  }
  for (const reconcile::Condition& c : plan.conditions) {
    status["conditions"].push_back(ConditionJson(c, live_status, plan.status.observed_generation, now));
  }
  return json{{"apiVersion", kube::ApiVersionOf(kube::kInferenceDeployments)},
              {"kind", std::string(kube::kInferenceDeployments.kind)},
              {"metadata", {{"name", owner.name}, {"namespace", owner.namespace_name}, {"uid", owner.uid}}},
              {"status", status}}
      .dump();
}

bool StatusMatches(std::string_view live, std::string_view intent) {
  const json have = StatusOf(live), want = StatusOf(intent);
  for (const char* key : {"observedGeneration", "replicas", "readyReplicas", "replicaSummary", "selector"}) {
    if (!want.contains(key) || have.value(key, json()) != want[key]) return false;
  }
  const json have_revisions = have.value("revisions", json::array()),
             want_revisions = want.value("revisions", json::array());
  for (const json& item : want_revisions) {
    const json found = Item(have_revisions, "hash", item["hash"]);
    if (!found.is_object() || !Covers(found, item)) return false;
  }
  for (const json& item : have_revisions) {  // one that is gone; the autotuner's own fields alone don't count
    if (item.contains("role") && Item(want_revisions, "hash", item.value("hash", json())).is_null()) return false;
  }
  const json have_conditions = have.value("conditions", json::array()),
             want_conditions = want.value("conditions", json::array());
  for (const json& item : want_conditions) {
    const json found = Item(have_conditions, "type", item["type"]);
    if (!found.is_object() || !Covers(found, item)) return false;
  }
  for (const json& item : have_conditions) {
    if (IsOwn(item) && Item(want_conditions, "type", item.value("type", json())).is_null()) return false;
  }
  return true;
}

}  // namespace patella::render
