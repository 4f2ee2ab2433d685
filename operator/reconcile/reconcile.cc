#include "operator/reconcile/reconcile.h"

#include <algorithm>
#include <tuple>

#include "lib/api/to_science.h"
#include "lib/base/hash.h"
#include "lib/base/text.h"
#include "lib/science/cost.h"
#include "operator/reconcile/conditions.h"
#include "operator/reconcile/handover.h"
#include "operator/reconcile/model_source.h"
#include "operator/reconcile/pod.h"
#include "operator/reconcile/settings.h"

namespace patella::reconcile {
namespace {

constexpr int kClientServicePort = 80;

// FNV-1a, each part followed by a separator so that ("ab", "c") and ("a", "bc") differ.
class Hasher {
 public:
  void Add(std::string_view part) { hash_ = FnvMix(Fnv1a(part, hash_), 0x100); }
  std::string Digits() const {
    const std::string hex = Hex(hash_ ^ (hash_ >> 32));
    return hex.size() <= 8 ? std::string(8 - hex.size(), '0') + hex : hex.substr(hex.size() - 8);
  }

 private:
  uint64_t hash_ = kFnvBasis;
};

// What the wanted revision is made of.
struct Wanted {
  Images images;
  Choice choice;
  std::string revision;
  int pod_version = kPodVersion;
  const RevisionView* view = nullptr;  // its Deployment, if it exists
};

// Serving ones first, then those with most ready pods.
std::vector<const RevisionView*> InOrder(const std::vector<RevisionView>& revisions) {
  std::vector<const RevisionView*> order;
  for (const RevisionView& view : revisions) order.push_back(&view);
  std::sort(order.begin(), order.end(), [](const RevisionView* a, const RevisionView* b) {
    return std::tuple(a->role, -a->ready, std::string_view(a->hash)) <
           std::tuple(b->role, -b->ready, std::string_view(b->hash));
  });
  return order;
}

Images WithUsersEngine(const api::InferenceDeployment& deployment, Images images) {
  if (!deployment.spec.engine.image.empty()) images.engine = deployment.spec.engine.image;
  return images;
}

// A choice is kept for as long as the spec allows it; without one to keep, theory chooses.
Choice KeptOrChosen(const Inputs& inputs, const std::vector<const RevisionView*>& order, Refusal* refusal) {
  Choice choice;
  for (const RevisionView* view : order) {
    if (Reuse(inputs, view->accelerator_class, view->tensor_parallel_size, &choice)) return choice;
  }
  for (const RevisionView* view : order) {  // deleting a class by mistake must move no pod
    const bool gone = !view->accelerator_class.empty() && FindClass(inputs, view->accelerator_class) == nullptr;
    if (gone && view->ready > 0 && inputs.deployment.spec.hardware.accelerator_classes.empty()) {
      *refusal = {"AcceleratorClassMissing",
                  StrCat("AcceleratorClass ", view->accelerator_class, ", which revision ", view->hash,
                         " runs on, is gone: create it again, or "
                         "name another in spec.hardware.acceleratorClasses")};
      return choice;
    }
  }
  return Choose(inputs, refusal);
}

Wanted WantedOf(const Inputs& inputs, Refusal* refusal) {
  const api::InferenceDeployment& deployment = inputs.deployment;
  Wanted wanted;
  if (inputs.placement.local) {
    wanted.images = WithUsersEngine(deployment, inputs.images);
    wanted.choice.tensor_parallel_size = deployment.spec.tensor_parallel_size.value_or(1);
    wanted.revision = RevisionOf(deployment, wanted.images, wanted.choice);
    for (const RevisionView& view : inputs.revisions) {
      if (view.hash == wanted.revision) wanted.view = &view;
    }
    return wanted;
  }
  const std::vector<const RevisionView*> order = InOrder(inputs.revisions);
  if (deployment.spec.update_policy == api::UpdatePolicy::kManual) {
    for (const RevisionView* view : order) {
      wanted.images = WithUsersEngine(deployment, view->images);
      if (!Reuse(inputs, view->accelerator_class, view->tensor_parallel_size, &wanted.choice)) continue;
      wanted.pod_version = view->pod_version;
      wanted.revision = RevisionOf(deployment, wanted.images, wanted.choice, wanted.pod_version);
      if (wanted.revision == view->hash) return wanted.view = view, wanted;
    }
  }
  wanted.pod_version = kPodVersion;
  wanted.images = WithUsersEngine(deployment, inputs.images);
  wanted.choice = KeptOrChosen(inputs, order, refusal);
  wanted.revision = RevisionOf(deployment, wanted.images, wanted.choice);
  for (const RevisionView* view : order) {
    if (view->hash == wanted.revision) wanted.view = view;
  }
  return wanted;
}

Refusal CheckEngine(const Inputs& inputs, const Wanted& wanted) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  if (inputs.placement.local) return {};
  if (spec.engine.type != api::EngineType::kPatella && spec.engine.image.empty()) {
    return {"EngineImageMissing", StrCat("spec.engine.image is needed with engine.type ", api::NameOf(spec.engine.type),
                                         ": only Patella's own engine has a default image")};
  }
  const int each = wanted.choice.accelerators();
  if (spec.hardware.max_accelerators && each > *spec.hardware.max_accelerators) {
    return {"MaxAcceleratorsTooSmall",
            StrCat("one replica takes ", each, " accelerators; spec.hardware.maxAccelerators is ",
                   *spec.hardware.max_accelerators)};
  }
  return {};
}

Labels CommonLabels(const Inputs& inputs) {
  return {{kManagedByLabel, kManagedBy}, {kDeploymentLabel, inputs.deployment.metadata.name}};
}

Labels RevisionLabels(const Inputs& inputs, const std::string& revision, Role role) {
  Labels labels = CommonLabels(inputs);
  labels[kRevisionLabel] = revision;
  labels[kRoleLabel] = LabelOf(role);
  return labels;
}

Labels ServingSelector(const Inputs& inputs) {
  return {{kDeploymentLabel, inputs.deployment.metadata.name}, {kRoleLabel, std::string(LabelOf(Role::kServing))}};
}

Deployment DeploymentOf(const Inputs& inputs, const Wanted& wanted, const ModelSource& model, const HandOver& hand_over,
                        Role role) {
  Deployment d;
  d.name = NameOf(inputs, wanted.revision);
  d.labels = RevisionLabels(inputs, wanted.revision, role);
  d.annotations = {{kClassAnnotation, wanted.choice.accelerator_class},
                   {kTensorParallelAnnotation, StrCat(wanted.choice.tensor_parallel_size)},
                   {kPodVersionAnnotation, StrCat(wanted.pod_version)}};
  d.selector = {{kDeploymentLabel, inputs.deployment.metadata.name}, {kRevisionLabel, wanted.revision}};
  d.replicas = hand_over.wanted;
  d.max_surge = hand_over.may_surge ? 1 : 0;
  d.max_unavailable = hand_over.may_surge ? 0 : 1;
  d.progress_deadline_seconds = EngineStartSeconds(inputs.deployment.spec.model) +
                                2 * inputs.deployment.spec.tuning.max_calibration_seconds + 300;
  d.pod = PodOf({inputs, wanted.revision, wanted.images, wanted.choice, model, d.labels});
  return d;
}

ConfigMap MapOf(std::string name, Labels labels, const std::vector<Env>& settings, bool immutable) {
  ConfigMap map{.name = std::move(name), .labels = std::move(labels), .immutable = immutable};
  map.labels.erase(kRoleLabel);  // it changes, these need not
  for (const Env& env : settings) map.settings[env.name] = env.value;
  return map;
}

void AddShared(const Inputs& inputs, Plan* plan) {
  const std::string& name = inputs.deployment.metadata.name;
  const Labels labels = CommonLabels(inputs);
  const api::PodSpec& pod = inputs.deployment.spec.pod;
  plan->services = {{name, labels, ServingSelector(inputs), {{"http", kClientServicePort, kClientPort}}},
                    {NameOf(inputs, "pods"),
                     labels,
                     {{kDeploymentLabel, name}},
                     {{"http", kClientPort}, {"admin", kAdminPort}, {"peers", kPeerPort}},
                     true}};
  if (inputs.placement.local) return;
  const std::string tuner = NameOf(inputs, "autotuner");
  plan->access = Access{tuner, labels, pod.service_account_name.empty() ? tuner : pod.service_account_name, name};
  plan->disruption_budget = DisruptionBudget{name, labels, ServingSelector(inputs)};
  const std::string service = StrCat(NameOf(inputs, "pods"), ".", inputs.deployment.metadata.namespace_name, ".svc");
  plan->peers = PeerSecret{NameOf(inputs, "peers"), labels, {service, StrCat("*.", service)}};
}

RevisionLoad LoadOf(const RevisionView& view) {
  // Ready pods that it was told to give up are as good as gone.
  return {view.accelerators, view.wanted, view.present, std::min(view.ready, view.wanted), view.observed};
}

bool Gone(const RevisionView& view) { return view.observed && view.wanted == 0 && view.present == 0; }

// Of a class's price, what that many accelerators cost in an hour.
std::optional<science::Money> PriceOf(const Inputs& inputs, const std::string& accelerator_class, int accelerators,
                                      int replicas) {
  const api::AcceleratorClass* c = FindClass(inputs, accelerator_class);
  if (c == nullptr) return std::nullopt;
  const std::optional<science::Money> price = api::ToMoney(c->price_per_node_hour);
  if (!price) return std::nullopt;
  return science::CostPerHour(*price, c->accelerators_per_node, accelerators, replicas).accelerators;
}

RevisionStatus StatusOf(const Inputs& inputs, const RevisionView& view) {
  RevisionStatus status{view.hash,    view.role, view.accelerator_class, view.tensor_parallel_size,
                        view.present, view.ready};
  if (const auto price = PriceOf(inputs, view.accelerator_class, view.tensor_parallel_size, 1)) {
    std::string text = ToText(*price, 6);  // exact, with cents at least
    while (text.ends_with('0') && text.rfind('.') + 3 < text.size()) text.pop_back();
    status.replica_cost_per_hour = std::move(text);
  }
  return status;
}

std::string UpdateText(const Inputs& inputs, const Wanted& wanted) {
  const Images newest = WithUsersEngine(inputs.deployment, inputs.images);
  std::string text;
  if (wanted.images.engine != newest.engine)
    text = StrCat("engine ", newest.engine, " (now ", wanted.images.engine, ")");
  if (wanted.images.sidecar != newest.sidecar)
    StrAppend(&text, text.empty() ? "" : ", ", "sidecar ", newest.sidecar, " (now ", wanted.images.sidecar, ")");
  if (wanted.pod_version != kPodVersion)
    StrAppend(&text, text.empty() ? "" : ", ", "a newer layout of the pod, without which spec.pod changes nothing");
  return text;
}

std::string CostOf(const Inputs& inputs, const Choice& choice, int replicas) {
  const auto price = PriceOf(inputs, choice.accelerator_class, choice.accelerators(), replicas);
  return price ? ToText(*price) : "";
}

int ClampedReplicas(const api::InferenceDeploymentSpec& spec) {
  return std::clamp(spec.replicas, std::min(spec.scaling.min_replicas, spec.scaling.max_replicas),
                    spec.scaling.max_replicas);
}

// The figures that are true whatever is planned.
void Observe(const Inputs& inputs, Plan* plan) {
  plan->status.observed_generation = inputs.generation;
  plan->status.selector =
      StrCat(kDeploymentLabel, "=", inputs.deployment.metadata.name, ",", kRoleLabel, "=", LabelOf(Role::kServing));
  for (const RevisionView* view : InOrder(inputs.revisions)) {
    plan->status.replicas += view->present;
    plan->status.ready_replicas += view->ready;
    plan->status.revisions.push_back(StatusOf(inputs, *view));
  }
  std::sort(plan->status.revisions.begin(), plan->status.revisions.end(),
            [](const RevisionStatus& a, const RevisionStatus& b) { return a.hash < b.hash; });
}

void SetRole(Plan* plan, const std::string& revision, Role role) {
  for (RevisionStatus& r : plan->status.revisions) {
    if (r.hash == revision) r.role = role;
  }
}

Plan Held(const Situation& situation, Plan plan) {
  plan.hold = true;
  plan.conditions = ConditionsOf(situation);
  return plan;
}

HandOverInputs HandOverOf(const Inputs& inputs, const Wanted& wanted, int desired,
                          const std::vector<const RevisionView*>& others) {
  HandOverInputs in;
  in.replicas = desired;
  const Choice& choice = wanted.choice;
  if (choice.accelerators() > 0) {
    if (inputs.deployment.spec.hardware.max_accelerators) in.hard = *inputs.deployment.spec.hardware.max_accelerators;
    const NodeCapacity nodes = CapacityOf(inputs.nodes, choice.node_selector, choice.resource_name);
    if (nodes.nodes > 0) in.soft = nodes.accelerators;
  }
  if (wanted.view != nullptr) in.wanted = LoadOf(*wanted.view);
  in.wanted.accelerators = choice.accelerators();
  for (const RevisionView* view : others) in.others.push_back(LoadOf(*view));
  return in;
}

// The wanted revision and those that still have pods. An old one serves until the new one has a ready pod, then it retires.
void AddRevisions(const Inputs& inputs, const Wanted& wanted, const ModelSource& model,
                  const std::vector<const RevisionView*>& others, const HandOver& hand_over, Plan* plan) {
  const auto labels = [&inputs](const std::string& revision) {
    return RevisionLabels(inputs, revision, Role::kServing);
  };
  const auto add_limits = [&](const std::string& revision) {
    plan->config_maps.push_back(
        MapOf(LimitsName(NameOf(inputs, revision)), labels(revision), LimitSettings(inputs), false));
  };
  const bool taken_over = wanted.view != nullptr && wanted.view->ready > 0;
  bool old_serves = false;
  add_limits(wanted.revision);
  for (size_t i = 0; i < others.size(); ++i) {
    const bool serves = !taken_over && others[i]->ready > 0 && hand_over.others[i] > 0;
    old_serves |= serves;
    const Role role = serves ? Role::kServing : Role::kRetiring;
    plan->retained.push_back({others[i]->name, others[i]->uid, others[i]->hash, role, hand_over.others[i]});
    add_limits(others[i]->hash);
    SetRole(plan, others[i]->hash, role);
  }
  const Role role = old_serves ? Role::kTrial : Role::kServing;
  SetRole(plan, wanted.revision, role);
  if (wanted.pod_version != kPodVersion) {  // laid out by an older operator: as it is, until the user moves on
    plan->retained.push_back({wanted.view->name, wanted.view->uid, wanted.revision, role, hand_over.wanted});
    return;
  }
  plan->config_maps.push_back(MapOf(NameOf(inputs, wanted.revision), labels(wanted.revision),
                                    EngineSettings(inputs, wanted.choice, model.model_id), true));
  plan->deployments.push_back(DeploymentOf(inputs, wanted, model, hand_over, role));
}

}  // namespace

std::string RevisionOf(const api::InferenceDeployment& deployment, const Images& images, const Choice& choice,
                       int pod_version) {
  const api::InferenceDeploymentSpec& spec = deployment.spec;
  Hasher hash;
  for (const std::string& part :
       {spec.model.uri, spec.model.name, std::string(api::NameOf(spec.engine.type)), images.engine, images.sidecar,
        choice.accelerator_class, StrCat(choice.tensor_parallel_size), spec.pod.resources}) {
    hash.Add(part);
  }
  if (spec.model.token_secret_ref)
    hash.Add(StrCat(spec.model.token_secret_ref->name, "/", spec.model.token_secret_ref->key));
  hash.Add(StrCat("pod version ", pod_version));
  hash.Add("args");
  for (const std::string& arg : spec.engine.args) hash.Add(arg);
  hash.Add("env");
  for (const api::EnvVar& env : spec.engine.env) hash.Add(StrCat(env.name, "=", env.value));
  return hash.Digits();
}

Plan Reconcile(const Inputs& inputs, TimePoint) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  Plan plan;
  Observe(inputs, &plan);
  plan.desired_replicas = ClampedReplicas(spec);
  plan.status.replica_summary = StrCat(plan.status.ready_replicas, "/", plan.desired_replicas);
  Situation situation{.inputs = inputs};
  for (const RevisionView& view : inputs.revisions) situation.ready += view.ready;
  if (spec.paused || inputs.deleting) return Held(situation, std::move(plan));

  Wanted wanted = WantedOf(inputs, &situation.refusal);
  const ModelSource model = ModelSourceOf(inputs, &situation.refusal);
  if (situation.refusal.reason.empty()) situation.refusal = CheckEngine(inputs, wanted);
  situation.choice = wanted.choice;
  situation.revision = plan.revision = wanted.revision;
  plan.choice = wanted.choice.why;
  situation.desired = situation.possible = plan.desired_replicas;
  situation.wanted = wanted.view;
  situation.update = UpdateText(inputs, wanted);
  if (!situation.refusal.reason.empty()) return Held(situation, std::move(plan));

  std::vector<const RevisionView*> others;
  for (const RevisionView* view : InOrder(inputs.revisions)) {
    if (view != wanted.view && !view->deleting && !Gone(*view)) others.push_back(view);
  }
  const HandOverInputs loads = HandOverOf(inputs, wanted, plan.desired_replicas, others);
  const HandOver hand_over = PlanHandOver(loads);
  situation.hand_over = hand_over;
  situation.others = static_cast<int>(others.size());
  const int each = wanted.choice.accelerators();
  if (loads.hard && each > 0)
    situation.possible = std::min<int>(situation.possible, static_cast<int>(*loads.hard / each));
  AddRevisions(inputs, wanted, model, others, hand_over, &plan);
  situation.accelerators = static_cast<int64_t>(hand_over.wanted) * each;
  for (size_t i = 0; i < others.size(); ++i)
    situation.accelerators += static_cast<int64_t>(hand_over.others[i]) * others[i]->accelerators;
  AddShared(inputs, &plan);
  plan.cost_per_hour = CostOf(inputs, wanted.choice, plan.desired_replicas);
  plan.conditions = ConditionsOf(situation);
  return plan;
}

}  // namespace patella::reconcile
