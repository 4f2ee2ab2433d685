#include "operator/reconcile/plan.h"

#include <algorithm>

namespace patella::reconcile {

std::string_view LabelOf(Role role) {
  switch (role) {
    case Role::kTrial:
      return "trial";
    case Role::kRetiring:
      return "retiring";
    case Role::kServing:
      break;
  }
  return "serving";
}

const Condition* FindCondition(const Plan& plan, std::string_view type) {
  for (const Condition& c : plan.conditions) {
    if (c.type == type) return &c;
  }
  return nullptr;
}

namespace {

const ConfigMap* FindMap(const Plan& plan, const std::string& name) {
  const auto at = std::find_if(plan.config_maps.begin(), plan.config_maps.end(),
                               [&name](const ConfigMap& map) { return map.name == name; });
  return at == plan.config_maps.end() ? nullptr : &*at;
}

}  // namespace

std::vector<Env> ResolvedEnv(const Plan& plan, const Container& container) {
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

}  // namespace patella::reconcile
