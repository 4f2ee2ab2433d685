#include "lib/base/text.h"
#include "operator/reconcile/plan.h"

namespace patella::reconcile {
namespace {

void PrintMap(std::string* out, std::string_view indent, std::string_view name,
              const std::map<std::string, std::string>& map) {
  if (map.empty()) return;
  StrAppend(out, indent, name, ":\n");
  for (const auto& [key, value] : map) StrAppend(out, indent, "  ", key, ": ", value, "\n");
}

void PrintProbe(std::string* out, std::string_view name, const std::optional<HttpProbe>& probe) {
  if (!probe) return;
  StrAppend(out, "      ", name, ": GET ", probe->path, " on ", probe->port, " every ", probe->period_seconds,
            " s, fails after ", probe->failure_threshold, "\n");
}

void PrintContainer(std::string* out, const Container& c) {
  StrAppend(out, "    container ", c.name, c.native_sidecar ? " (native sidecar)" : "", "\n      image: ", c.image,
            "\n");
  if (!c.args.empty()) StrAppend(out, "      args: ", Join(c.args, " "), "\n");
  for (const Env& env : c.env) StrAppend(out, "      env ", env.name, "=", env.value, "\n");
  for (const Port& port : c.ports) StrAppend(out, "      port ", port.name, ": ", port.number, "\n");
  PrintProbe(out, "startup", c.startup_probe);
  PrintProbe(out, "readiness", c.readiness_probe);
  PrintProbe(out, "liveness", c.liveness_probe);
  if (!c.pre_stop_path.empty()) StrAppend(out, "      before stop: GET ", c.pre_stop_path, " on admin\n");
}

}  // namespace

std::string Print(const Plan& plan) {
  std::string out = StrCat("revision ", plan.revision, "\n");
  for (const ConfigMap& map : plan.config_maps) {
    StrAppend(&out, "ConfigMap ", map.name, map.immutable ? " (immutable)" : "", "\n");
    PrintMap(&out, "  ", "labels", map.labels);
    PrintMap(&out, "  ", "settings", map.settings);
  }
  for (const Deployment& d : plan.deployments) {
    StrAppend(&out, "Deployment ", d.name, "\n  replicas: ", d.replicas, "\n");
    PrintMap(&out, "  ", "labels", d.labels);
    PrintMap(&out, "  ", "selector", d.selector);
    StrAppend(&out, "  pod\n");
    PrintMap(&out, "    ", "labels", d.pod.labels);
    PrintMap(&out, "    ", "annotations", d.pod.annotations);
    PrintMap(&out, "    ", "nodeSelector", d.pod.node_selector);
    StrAppend(&out, "    terminationGracePeriodSeconds: ", d.pod.termination_grace_seconds, "\n");
    for (const Container& c : d.pod.containers) PrintContainer(&out, c);
  }
  for (const Service& service : plan.services) {
    StrAppend(&out, "Service ", service.name, "\n");
    PrintMap(&out, "  ", "labels", service.labels);
    PrintMap(&out, "  ", "selector", service.selector);
    for (const Port& port : service.ports) StrAppend(&out, "  port ", port.name, ": ", port.number, "\n");
  }
  for (const Condition& c : plan.conditions) {
    StrAppend(&out, "condition ", c.type, "=", c.status ? "True" : "False", " ", c.reason,
              c.message.empty() ? "" : ": ", c.message, "\n");
  }
  return out;
}

}  // namespace patella::reconcile
