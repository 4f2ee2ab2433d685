#include "cli/up/store.h"

#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/api/print.h"
#include "lib/base/logging.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/memory_client.h"
#include "operator/apply/wiring.h"

namespace patella::cli {
namespace {

using nlohmann::json;

constexpr char kNamespace[] = "local";
constexpr auto kPatience = std::chrono::seconds(10);

json Parsed(const kube::ObjectPtr& object) { return json::parse(object->json(), nullptr, /*allow_exceptions=*/false); }

json ConditionOf(const json& object, const std::string& type) {
  const json status = object.value("status", json::object());
  for (const json& c : status.value("conditions", json::array())) {
    if (c.value("type", "") == type) return c;
  }
  return json::object();
}

}  // namespace

struct LocalStore::Impl {
  std::string name;
  SteadyClock clock;
  kube::MemoryClient client;
  std::unique_ptr<apply::Reconciler> reconciler;
  std::unique_ptr<kube::Manager> manager;  // destroyed first: its workers call the reconciler

  kube::ObjectPtr Deployment() {
    const auto page = client.List(kube::kDeployments, {.namespace_name = kNamespace, .limit = 0});
    return page.ok() && !page->items.empty() ? page->items.front() : nullptr;
  }
  json Object() {
    const auto object = client.Get(kube::kInferenceDeployments, kNamespace, name);
    return object.ok() ? Parsed(*object) : json::object();
  }
  std::map<std::string, std::string> Settings(const std::string& map) {
    const auto object = client.Get(kube::kConfigMaps, kNamespace, map);
    return object.ok() ? Parsed(*object).value("data", std::map<std::string, std::string>())
                       : std::map<std::string, std::string>();
  }
};

LocalStore::LocalStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

LocalStore::~LocalStore() { impl_->manager->Stop(); }

absl::StatusOr<std::unique_ptr<LocalStore>> LocalStore::Start(const api::InferenceDeployment& deployment,
                                                              const reconcile::Placement& placement) {
  if (std::getenv("LOG_LEVEL") == nullptr) PATELLA_RETURN_IF_ERROR(SetLogLevel("warn"));  // the terminal is the user's
  auto impl = std::make_unique<Impl>();
  Impl& i = *impl;
  i.name = deployment.metadata.name;
  i.manager = std::make_unique<kube::Manager>(&i.client, i.clock);
  apply::ReconcilerOptions options;
  options.placement = placement;
  i.reconciler = apply::AddReconciler(*i.manager, &i.client, i.clock, /*workers=*/1, std::move(options));
  std::unique_ptr<LocalStore> store(new LocalStore(std::move(impl)));
  api::InferenceDeployment object = deployment;
  object.metadata.namespace_name = kNamespace;
  PATELLA_RETURN_IF_ERROR(i.client.Create(kube::kInferenceDeployments, kNamespace, api::PrintJson(object)).status());
  PATELLA_RETURN_IF_ERROR(i.manager->StartCaches(kPatience));
  i.manager->StartWorkers();
  const TimePoint end = i.clock.Now() + kPatience;
  while (i.Deployment() == nullptr) {
    const json stalled = ConditionOf(i.Object(), "Stalled");
    if (stalled.value("status", "") == "True") return absl::FailedPreconditionError(stalled.value("message", ""));
    if (i.clock.Now() > end) return absl::InternalError("the operator's controller has made nothing");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return store;
}

absl::StatusOr<ContainerStart> LocalStore::Container(const std::string& name) const {
  const kube::ObjectPtr deployment = impl_->Deployment();
  if (deployment == nullptr) return absl::NotFoundError("the operator has made no Deployment");
  const json pod = Parsed(deployment)["spec"]["template"]["spec"];
  for (const char* list : {"initContainers", "containers"}) {
    for (const json& container : pod.value(list, json::array())) {
      if (container.value("name", "") != name) continue;
      std::map<std::string, std::string> values;
      for (const json& from : container.value("envFrom", json::array())) {
        for (const auto& [key, value] : impl_->Settings(from["configMapRef"]["name"])) values[key] = value;
      }
      for (const json& env : container.value("env", json::array())) {
        if (env.contains("value")) values[env["name"]] = env["value"];
        const json ref = env.value("valueFrom", json::object()).value("configMapKeyRef", json::object());
        if (!ref.empty()) values[env["name"]] = impl_->Settings(ref["name"])[ref["key"]];
      }
      ContainerStart start{.args = container.value("args", std::vector<std::string>())};
      for (const auto& [key, value] : values) start.environment.push_back(StrCat(key, "=", value));
      return start;
    }
  }
  return absl::NotFoundError(StrCat("the planned pod has no container ", name));
}

void LocalStore::ReportPod(bool ready) {
  const kube::ObjectPtr deployment = impl_->Deployment();
  if (deployment == nullptr) return;
  const json status = {{"observedGeneration", deployment->generation()},
                       {"replicas", 1},
                       {"updatedReplicas", 1},
                       {"readyReplicas", ready ? 1 : 0}};
  impl_->client
      .MergePatch(kube::kDeployments, kNamespace, deployment->name(), json{{"status", status}}.dump(),
                  {.manager = "patella-up", .subresource = "status"})
      .IgnoreError();
}

std::string LocalStore::Condition(const std::string& type) const {
  const json c = ConditionOf(impl_->Object(), type);
  if (c.empty()) return "";
  return StrCat(c.value("status", ""), ": ", c.value("reason", ""), ": ", c.value("message", ""));
}

}  // namespace patella::cli
