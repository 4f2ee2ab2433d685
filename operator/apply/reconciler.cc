#include "operator/apply/reconciler.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/logging.h"
#include "lib/base/rfc3339.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "operator/apply/views.h"
#include "operator/reconcile/reconcile.h"

namespace patella::apply {
namespace {

using nlohmann::json;
using reconcile::Condition;
using reconcile::Plan;

constexpr auto kPeersCheck = std::chrono::hours(1);  // whether certificates are to be renewed
constexpr auto kSoon = std::chrono::milliseconds(50);
constexpr auto kRivalCheck = std::chrono::seconds(5);

render::Owner OwnerOf(const kube::Object& object, const std::string& operator_name) {
  return {std::string(object.namespace_name()), std::string(object.name()), std::string(object.uid()), operator_name};
}

void SetCondition(Plan* plan, Condition condition) {
  for (Condition& c : plan->conditions) {
    if (c.type == condition.type) return void(c = std::move(condition));
  }
  plan->conditions.push_back(std::move(condition));
}

// A reason for Stalled if repeating the call soon will not help; "" otherwise.
std::string RefusalOf(const absl::Status& status) {
  if (kube::IsForbidden(status)) return "Forbidden";
  if (kube::IsInvalid(status)) return "Rejected";
  if (absl::IsAlreadyExists(status)) return "NameTaken";
  return "";
}

// Status, reason and message of a condition in an object's JSON.
json ConditionIn(std::string_view text, const std::string& type) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || !object.contains("status") || !object["status"].is_object()) return json::object();
  const json conditions = object["status"].value("conditions", json::array());
  if (!conditions.is_array()) return json::object();
  for (const json& c : conditions) {
    if (c.is_object() && c.value("type", json()) == type) return c;
  }
  return json::object();
}

struct Story {
  const char* type;
  bool warn_if;  // the status that is bad news
  const char* good;
  const char* bad;
};
// A condition that flips is an event.
constexpr Story kStories[] = {{"Ready", false, "BecameReady", "BecameUnready"},
                              {"CapacityAvailable", false, "CapacityAvailable", "CapacityMissing"},
                              {"Stalled", true, "Resumed", "Stalled"}};

}  // namespace

const std::vector<kube::Resource>& ChildResources() {
  static const std::vector<kube::Resource> kKinds = {
      kube::kDeployments,  kube::kConfigMaps,           kube::kServices, kube::kServiceAccounts, kube::kRoles,
      kube::kRoleBindings, kube::kPodDisruptionBudgets, kube::kLeases,   kube::kSecrets};
  return kKinds;
}

std::string ChildSelector() { return StrCat(reconcile::kManagedByLabel, "=", reconcile::kManagedBy); }

Reconciler::Reconciler(kube::Client* client, Caches caches, const Clock& clock, ReconcilerOptions options)
    : client_(client),
      caches_(std::move(caches)),
      clock_(clock),
      options_([&options] {
        if (!options.wall_time) options.wall_time = [] { return std::chrono::system_clock::now(); };
        return std::move(options);
      }()),
      executor_(client, caches_.children, clock, options_.wall_time),
      rivals_(client, clock, options_.operator_name),
      contest_(client, caches_.inference_deployments, clock, options_.wall_time) {}

std::vector<kube::ObjectPtr> Reconciler::DeploymentsOf(const kube::Object& object) const {
  for (kube::Cache* cache : caches_.children) {
    if (cache->resource().kind == kube::kDeployments.kind) return cache->ByController(object.uid());
  }
  return {};
}

reconcile::Inputs Reconciler::InputsOf(const kube::Object& object, const api::InferenceDeployment& deployment) const {
  reconcile::Inputs inputs;
  inputs.deployment = deployment;
  inputs.deployment.metadata.namespace_name = std::string(object.namespace_name());
  inputs.placement = options_.placement;
  inputs.images = options_.images;
  inputs.generation = object.generation();
  inputs.deleting = object.deleting();
  for (const kube::ObjectPtr& child : DeploymentsOf(object)) inputs.revisions.push_back(RevisionFrom(*child));
  for (const kube::ObjectPtr& item : caches_.accelerator_classes->List()) {
    if (const auto parsed = AcceleratorClassFrom(*item); parsed.ok()) {
      inputs.accelerator_classes.push_back(*parsed);
    } else {
      const std::lock_guard lock(mutex_);
      std::string& told = ignored_classes_[std::string(item->name())];
      if (told == parsed.status().message()) continue;
      told = ToStd(parsed.status().message());
      LogWarning("AcceleratorClass ignored", {{"name", std::string(item->name())}, {"why", parsed.status()}});
    }
  }
  for (const kube::ObjectPtr& node : caches_.nodes->List()) inputs.nodes.push_back(NodeFrom(*node));
  return inputs;
}

Plan Reconciler::PlanOf(const kube::Object& object) const {
  const absl::StatusOr<api::InferenceDeployment> deployment = DeploymentFrom(object);
  if (deployment.ok()) return reconcile::Reconcile(InputsOf(object, *deployment), clock_.Now());
  // The API server let it through, but this operator cannot work with it: children stay, and the object says why.
  api::InferenceDeployment none;
  none.metadata.name = std::string(object.name());
  none.spec.paused = true;
  Plan plan = reconcile::Reconcile(InputsOf(object, none), clock_.Now());
  const std::string why(ToStd(deployment.status().message()));
  plan.conditions = {{"Ready", FindCondition(plan, "Ready")->status, "InvalidSpec", why},
                     {"Reconciling", false, "InvalidSpec", ""},
                     {"Stalled", true, "InvalidSpec", why}};
  return plan;
}

absl::Status Reconciler::WriteStatus(const Plan& plan, const kube::Object& object) {
  const std::string intent =
      render::RenderStatus(plan, OwnerOf(object, options_.operator_name), object.json(), Rfc3339(options_.wall_time()));
  if (render::StatusMatches(object.json(), intent)) return absl::OkStatus();
  const absl::StatusOr<kube::ObjectPtr> done =
      client_->Apply(kube::kInferenceDeployments, object.namespace_name(), object.name(), intent,
                     {.manager = kStatusManager, .force = true, .subresource = "status"});
  if (kube::IsNotFound(done.status())) return absl::OkStatus();  // deleted meanwhile
  if (!done.ok()) return done.status();
  caches_.inference_deployments->Wrote(**done, clock_.Now());
  Tell(object, plan, {}, intent);
  return absl::OkStatus();
}

void Reconciler::Record(const kube::Object& object, bool warning, std::string reason, std::string note) {
  LogInfo("event", {{"object", object.key().ToString()}, {"reason", reason}, {"note", note}});
  if (options_.record)
    options_.record({kube::ReferenceTo(object), warning, std::move(reason), "Reconcile", std::move(note)});
}

void Reconciler::ClockSet(Duration moved) {
  const std::string note = StrCat(
      "the wall clock of the operator's node was set by ", std::lround(Seconds(moved)),
      " s: times in status may jump, the sidecars' certificates may count as expired or not valid yet. If nobody "
      "meant to, look at the node's time service");
  for (const kube::ObjectPtr& object : caches_.inference_deployments->List())
    Record(*object, /*warning=*/true, "ClockSet", note);
}

void Reconciler::Tell(const kube::Object& object, const Plan& plan, const std::vector<Deed>& deeds,
                      const std::string& status_json) {
  for (const Deed& deed : deeds) {
    if (deed.resource.kind != kube::kDeployments.kind) continue;
    switch (deed.kind) {
      case Deed::Kind::kCreated:
        Record(object, false, "RevisionCreated", StrCat("Deployment ", deed.name, ": ", plan.choice));
        break;
      case Deed::Kind::kScaled:
        for (const reconcile::RetainedDeployment& r : plan.retained) {
          if (r.name != deed.name) continue;
          Record(object, false, "RevisionScaled",
                 StrCat("Deployment ", r.name, " is ", LabelOf(r.role), ", ", r.replicas, " replicas"));
        }
        break;
      case Deed::Kind::kDeleted:
        Record(object, false, "RevisionRemoved", StrCat("Deployment ", deed.name, " has no pods left"));
        break;
      case Deed::Kind::kChanged:
        break;
    }
  }
  if (status_json.empty()) return;
  for (const Story& story : kStories) {
    const json before = ConditionIn(object.json(), story.type), after = ConditionIn(status_json, story.type);
    const bool was_bad = before.value("status", "") == (story.warn_if ? "True" : "False");
    const bool is_bad = after.value("status", "") == (story.warn_if ? "True" : "False");
    const bool another = before.value("reason", "") != after.value("reason", "");
    if (before.empty() && !(is_bad && story.warn_if)) continue;  // a beginning is no news
    if (is_bad ? (!was_bad || (another && story.warn_if)) : was_bad) {
      Record(object, is_bad, is_bad ? story.bad : story.good,
             StrCat(after.value("reason", ""), ": ", after.value("message", "")));
    }
  }
}

void Reconciler::Measure(const kube::ObjectKey& key, int replicas, double cost) {
  if (options_.metrics == nullptr) return;
  const metrics::Labels labels = {{"namespace", key.namespace_name}, {"deployment", key.name}};
  options_.metrics->GetGauge("patella_desired_replicas", labels).Set(replicas);
  options_.metrics->GetGauge("patella_cost_per_hour_dollars", labels).Set(cost);
}

// What was exported for a deployment that is gone becomes 0: an autoscaler must not go on reading it.
void Reconciler::Gone(const kube::ObjectKey& key) {
  executor_.Forget(key);
  rivals_.Forget(key);
  contest_.Forget(key);
  const std::lock_guard lock(mutex_);
  told_rivals_.erase(key);
  if (known_.erase(key) > 0) Measure(key, 0, 0);
}

absl::StatusOr<std::optional<Duration>> Reconciler::TellOf(const Rivals::Verdict& verdict, const kube::Object& object) {
  const std::string note =
      StrCat("the patella-operator with the Lease ", verdict.who, " works on this object too, beside ",
             options_.operator_name, ": ", verdict.hands_off ? "it is left to that one" : "this one goes on",
             ". Remove one of the two, or give each its own namespaces (WATCH_NAMESPACES)");
  bool taken_over = false;
  {
    const std::lock_guard lock(mutex_);
    std::string& told = told_rivals_[object.key()];
    if (!verdict.who.empty() && told != verdict.who) {
      Record(object, /*warning=*/true, "AnotherOperator", note);
      told = verdict.who;
    } else if (verdict.who.empty() && !verdict.hands_off && !told.empty()) {
      Record(object, /*warning=*/false, "TakenOver", StrCat("the operator with the Lease ", told, " is gone"));
      told.clear();
      taken_over = true;
    }
  }
  if (!verdict.hands_off) return contest_.Clear(object, taken_over);
  if (!verdict.who.empty()) PATELLA_RETURN_IF_ERROR(contest_.Tell(object, note));
  return std::nullopt;
}

absl::StatusOr<kube::ReconcileResult> Reconciler::Standing(const kube::Object& object) {
  if (options_.operator_name.empty()) return kube::ReconcileResult{};
  const std::vector<kube::ObjectPtr> deployments = DeploymentsOf(object);
  Rivals::Marks marks;
  for (const kube::ObjectPtr& d : deployments)
    marks[std::string(d->uid())] = AnnotationOf(*d, render::kOperatorAnnotation);
  PATELLA_ASSIGN_OR_RETURN(const Rivals::Verdict verdict, rivals_.Judge(object.key(), marks));
  PATELLA_ASSIGN_OR_RETURN(const std::optional<Duration> look_again, TellOf(verdict, object));
  for (const kube::ObjectPtr& d : deployments) {
    const std::string uid(d->uid());
    if (!verdict.replace.contains(marks[uid])) continue;
    PATELLA_RETURN_IF_ERROR(executor_.Mark(*d, OwnerOf(object, options_.operator_name)));
    rivals_.Replaced(object.key(), uid, marks[uid], verdict.hands_off);
  }
  if (verdict.hands_off) return kube::ReconcileResult{.requeue_after = kRivalCheck, .waits = true};
  if (!verdict.replace.empty()) return kube::ReconcileResult{.requeue_after = kSoon, .waits = true};
  return kube::ReconcileResult{.requeue_after = look_again};
}

absl::StatusOr<kube::ReconcileResult> Reconciler::Reconcile(const kube::ObjectKey& key) {
  const kube::ObjectPtr object = caches_.inference_deployments->Get(key);
  if (object == nullptr || object->deleting()) {  // what it controls goes with it
    Gone(key);
    return kube::ReconcileResult{};
  }
  const bool sees_status = caches_.inference_deployments->SeesWrites(key, clock_.Now());
  if (!executor_.SeesWrites(key) || !sees_status) return kube::ReconcileResult{.requeue_after = kSoon, .waits = true};

  PATELLA_ASSIGN_OR_RETURN(kube::ReconcileResult result, Standing(*object));
  if (result.waits) return result;

  Plan plan = PlanOf(*object);
  double cost = 0;
  if (!plan.cost_per_hour.empty()) ParseDouble(plan.cost_per_hour, &cost);
  {
    const std::lock_guard lock(mutex_);
    known_[key] = true;
    Measure(key, plan.desired_replicas, cost);
  }
  absl::Status done;
  if (!plan.hold) {
    std::vector<Deed> deeds;
    done = executor_.Execute(plan, OwnerOf(*object, options_.operator_name), &deeds);
    Tell(*object, plan, deeds, "");
    if (const std::string reason = RefusalOf(done); !reason.empty())
      SetCondition(&plan, {"Stalled", true, reason, std::string(ToStd(done.message()))});
  }
  const absl::Status told = WriteStatus(plan, *object);
  PATELLA_RETURN_IF_ERROR(done);
  PATELLA_RETURN_IF_ERROR(told);
  if (!plan.hold && !result.requeue_after) result.requeue_after = kPeersCheck;
  return result;
}

}  // namespace patella::apply
