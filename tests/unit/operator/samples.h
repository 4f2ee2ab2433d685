// Inputs from testdata/*.yaml, and changes to them, for the tests of reconcile and render.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <variant>

#include "lib/api/parse.h"
#include "operator/reconcile/reconcile.h"

namespace patella::reconcile {

inline Inputs InputsFrom(const std::string& file) {
  Inputs inputs;
  inputs.images = {"patella-engine:1", "patella-sidecar:1"};
  inputs.generation = 1;
  const auto objects = api::ParseFile(file);
  EXPECT_TRUE(objects.ok()) << objects.status();
  if (!objects.ok()) return inputs;
  for (const api::Object& object : *objects) {
    if (const auto* d = std::get_if<api::InferenceDeployment>(&object)) inputs.deployment = *d;
    if (const auto* c = std::get_if<api::AcceleratorClass>(&object)) inputs.accelerator_classes.push_back(*c);
  }
  return inputs;
}

inline Inputs Sample(const std::string& name) {
  return InputsFrom(std::string(PATELLA_TEST_DATA "/") + name + ".yaml");
}

inline NodeView NodeWith(const std::string& accelerator, int count) {
  return {"node-" + accelerator, {{"example.com/accelerator", accelerator}}, {{"nvidia.com/gpu", count}}};
}

// The Deployment that the plan asks for, with so many of its pods ready.
inline RevisionView ViewOf(const Plan& plan, int ready) {
  const Deployment& d = plan.deployments.at(0);
  RevisionView view;
  view.name = d.name;
  view.uid = "uid-" + d.name;
  view.hash = plan.revision;
  view.role = d.labels.at(kRoleLabel) == "trial" ? Role::kTrial : Role::kServing;
  for (const Container& c : d.pod.containers) (c.name == "engine" ? view.images.engine : view.images.sidecar) = c.image;
  view.accelerator_class = d.annotations.at(kClassAnnotation);
  view.tensor_parallel_size = std::stoi(d.annotations.at(kTensorParallelAnnotation));
  view.pod_version = std::stoi(d.annotations.at(kPodVersionAnnotation));
  view.accelerators = view.accelerator_class.empty() ? 0 : view.tensor_parallel_size;
  view.wanted = view.present = view.updated = d.replicas;
  view.ready = ready;
  view.observed = true;
  return view;
}

inline const Condition& ConditionOf(const Plan& plan, const std::string& type) {
  static const Condition kNone;
  const Condition* found = FindCondition(plan, type);
  return found == nullptr ? kNone : *found;
}

inline const Container& Named(const Plan& plan, const std::string& name) {
  for (const Container& c : plan.deployments.at(0).pod.containers) {
    if (c.name == name) return c;
  }
  static const Container kNone;
  return kNone;
}

inline const ConfigMap* FindMap(const Plan& plan, const std::string& name) {
  const auto at = std::find_if(plan.config_maps.begin(), plan.config_maps.end(),
                               [&name](const ConfigMap& map) { return map.name == name; });
  return at == plan.config_maps.end() ? nullptr : &*at;
}

// The environment that the container ends up with, from the plan's own ConfigMaps; what comes from a Secret or a field of the pod is left out.
inline std::vector<Env> ResolvedEnv(const Plan& plan, const Container& container) {
  std::map<std::string, std::string> values;
  for (const std::string& name : container.env_from) {
    if (const ConfigMap* map = FindMap(plan, name)) {
      for (const auto& [key, value] : map->settings) values[key] = value;
    }
  }
  for (const Env& env : container.env) {
    if (env.source == Env::Source::kValue) values[env.name] = env.value;
    if (env.source != Env::Source::kConfigMap) continue;
    const ConfigMap* map = FindMap(plan, env.object);
    if (map != nullptr && map->settings.contains(env.key)) values[env.name] = map->settings.at(env.key);
  }
  std::vector<Env> out;
  for (const auto& [name, value] : values) out.push_back({name, value});
  return out;
}

inline std::string EnvOf(const Plan& plan, const std::string& container, const std::string& name) {
  for (const Env& env : ResolvedEnv(plan, Named(plan, container))) {
    if (env.name == name) return env.value;
  }
  return "(absent)";
}

}  // namespace patella::reconcile
