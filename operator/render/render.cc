#include "operator/render/render.h"

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "lib/base/hash.h"
#include "lib/base/text.h"
#include "operator/render/pod_json.h"

namespace patella::render {
namespace {

using nlohmann::json;

constexpr char kRbacGroup[] = "rbac.authorization.k8s.io";

json Head(const kube::Resource& resource, const std::string& name, const reconcile::Labels& labels,
          const Owner& owner) {
  return {{"apiVersion", kube::ApiVersionOf(resource)},
          {"kind", std::string(resource.kind)},
          {"metadata",
           {{"name", name},
            {"namespace", owner.namespace_name},
            {"labels", labels},
            {"ownerReferences",
             {{{"apiVersion", kube::ApiVersionOf(kube::kInferenceDeployments)},
               {"kind", std::string(kube::kInferenceDeployments.kind)},
               {"name", owner.name},
               {"uid", owner.uid},
               {"controller", true}}}}}}};
}

Child Finished(const kube::Resource& resource, json body) {
  Child child{.resource = resource, .name = body["metadata"]["name"]};
  body["metadata"]["annotations"][kIntentAnnotation] = Hex(Fnv1a(body.dump()));
  child.json = body.dump();
  return child;
}

Child MapChild(const reconcile::ConfigMap& map, const Owner& owner) {
  json body = Head(kube::kConfigMaps, map.name, map.labels, owner);
  body["data"] = map.settings;
  if (map.immutable) body["immutable"] = true;
  Child child = Finished(kube::kConfigMaps, std::move(body));
  child.immutable = map.immutable;
  return child;
}

Child DeploymentChild(const reconcile::Deployment& d, const Owner& owner) {
  json body = Head(kube::kDeployments, d.name, d.labels, owner);
  if (!d.annotations.empty()) body["metadata"]["annotations"] = d.annotations;
  if (!owner.operator_name.empty()) body["metadata"]["annotations"][kOperatorAnnotation] = owner.operator_name;
  body["spec"] = {{"replicas", d.replicas},
                  {"revisionHistoryLimit", 2},
                  {"progressDeadlineSeconds", d.progress_deadline_seconds},
                  {"selector", {{"matchLabels", d.selector}}},
                  {"strategy",
                   {{"type", "RollingUpdate"},
                    {"rollingUpdate", {{"maxSurge", d.max_surge}, {"maxUnavailable", d.max_unavailable}}}}},
                  {"template", PodJson(d.pod)}};
  return Finished(kube::kDeployments, std::move(body));
}

Child ServiceChild(const reconcile::Service& service, const Owner& owner) {
  json body = Head(kube::kServices, service.name, service.labels, owner);
  json& spec = body["spec"];
  spec["selector"] = service.selector;
  for (const reconcile::Port& port : service.ports) {
    spec["ports"].push_back({{"name", port.name},
                             {"port", port.number},
                             {"targetPort", port.target == 0 ? port.number : port.target},
                             {"protocol", "TCP"}});
  }
  if (service.headless) {
    spec["clusterIP"] = "None";
    spec["publishNotReadyAddresses"] = true;
  }
  return Finished(kube::kServices, std::move(body));
}

json Rule(const char* group, const char* resource, const std::string& name, std::initializer_list<const char*> verbs) {
  return {{"apiGroups", {group}}, {"resources", {resource}}, {"resourceNames", {name}}, {"verbs", verbs}};
}

// Status and scale of one object, and one Lease: a broken parser in the data path can never change an image or a command.
std::vector<Child> AccessChildren(const reconcile::Access& access, const Owner& owner) {
  std::vector<Child> children;
  if (access.service_account == access.name) {
    json account = Head(kube::kServiceAccounts, access.name, access.labels, owner);
    account["automountServiceAccountToken"] = false;
    children.push_back(Finished(kube::kServiceAccounts, std::move(account)));
  }
  json role = Head(kube::kRoles, access.name, access.labels, owner);
  const char* group = kube::kInferenceDeployments.group.data();
  role["rules"] = {
      Rule(group, "inferencedeployments", access.deployment, {"get", "list", "watch"}),
      Rule(group, "inferencedeployments/status", access.deployment, {"get", "patch"}),
      Rule(group, "inferencedeployments/scale", access.deployment, {"get", "patch"}),
      Rule(kube::kLeases.group.data(), "leases", access.name, {"get", "list", "watch", "update", "patch"})};
  children.push_back(Finished(kube::kRoles, std::move(role)));
  json binding = Head(kube::kRoleBindings, access.name, access.labels, owner);
  binding["roleRef"] = {{"apiGroup", kRbacGroup}, {"kind", "Role"}, {"name", access.name}};
  binding["subjects"] = {
      {{"kind", "ServiceAccount"}, {"name", access.service_account}, {"namespace", owner.namespace_name}}};
  children.push_back(Finished(kube::kRoleBindings, std::move(binding)));
  Child lease = Finished(kube::kLeases, Head(kube::kLeases, access.name, access.labels, owner));
  lease.create_only = true;
  children.push_back(std::move(lease));
  return children;
}

Child BudgetChild(const reconcile::DisruptionBudget& budget, const Owner& owner) {
  json body = Head(kube::kPodDisruptionBudgets, budget.name, budget.labels, owner);
  body["spec"] = {{"maxUnavailable", 1},
                  {"selector", {{"matchLabels", budget.selector}}},
                  {"unhealthyPodEvictionPolicy", "AlwaysAllow"}};
  return Finished(kube::kPodDisruptionBudgets, std::move(body));
}

}  // namespace

std::vector<Child> Render(const reconcile::Plan& plan, const Owner& owner) {
  std::vector<Child> children;
  if (plan.access) children = AccessChildren(*plan.access, owner);
  for (const reconcile::ConfigMap& map : plan.config_maps) children.push_back(MapChild(map, owner));
  for (const reconcile::Service& service : plan.services) children.push_back(ServiceChild(service, owner));
  if (plan.disruption_budget) children.push_back(BudgetChild(*plan.disruption_budget, owner));
  for (const reconcile::Deployment& d : plan.deployments) children.push_back(DeploymentChild(d, owner));
  return children;
}

Child RenderPeers(const reconcile::PeerSecret& secret, const PeerCertificates& certificates, const Owner& owner) {
  json body = Head(kube::kSecrets, secret.name, secret.labels, owner);
  body["type"] = "kubernetes.io/tls";
  body["data"] = {{"ca.crt", absl::Base64Escape(certificates.ca)},
                  {"tls.crt", absl::Base64Escape(certificates.certificate)},
                  {"tls.key", absl::Base64Escape(certificates.key)}};
  return Finished(kube::kSecrets, std::move(body));
}

std::string RenderRetained(const reconcile::RetainedDeployment& retained) {
  return json{
      {"metadata",
       {{"uid", retained.uid}, {"labels", {{reconcile::kRoleLabel, std::string(reconcile::LabelOf(retained.role))}}}}},
      {"spec", {{"replicas", retained.replicas}}}}
      .dump();
}

std::string RenderMark(std::string_view uid, const std::string& operator_name) {
  return json{{"metadata", {{"uid", std::string(uid)}, {"annotations", {{kOperatorAnnotation, operator_name}}}}}}
      .dump();
}

}  // namespace patella::render
