#include "operator/app/config.h"

#include <algorithm>

#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::controller {
namespace {

bool IsNamespace(std::string_view name) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), allowed) && name.front() != '-' &&
         name.back() != '-';
}

}  // namespace

std::span<const Setting> OperatorSettings() {
  using enum SettingType;
  static const std::vector<Setting> kSettings = {
      {.name = "KUBECONFIG",
       .help = "kubeconfig files, colon-separated; empty: the pod's service account, else ~/.kube/config"},
      {.name = "WATCH_NAMESPACES", .help = "namespaces to work in, comma-separated; empty: all"},
      {.name = "POD_NAMESPACE", .fallback = "default", .help = "namespace of the operator's own Lease"},
      {.name = "POD_NAME", .fallback = "patella-operator", .help = "this replica's name, in the Lease and in events"},
      {.name = "LEADER_ELECTION",
       .type = kBool,
       .fallback = "true",
       .help = "work only while holding the Lease; needed with more than one replica"},
      {.name = "LEASE_NAME", .fallback = "patella-operator", .help = "name of the Lease"},
      {.name = "ADMIN", .fallback = "0.0.0.0:8081", .help = "address for /metrics, /healthz and /readyz"},
      {.name = "ENGINE_IMAGE", .fallback = "patella-engine", .help = "image of Patella's own engine"},
      {.name = "SIDECAR_IMAGE", .fallback = "patella-sidecar", .help = "image of the sidecar"},
      {.name = "HOST_MODEL_DIR",
       .help = "folder of the nodes that file:// means, mounted read-only (Pod Security must allow hostPath); empty: "
               "file:// is refused"},
      {.name = "WORKERS", .type = kInt, .fallback = "4", .help = "deployments reconciled at once", .min = 1, .max = 64},
      {.name = "LOG_LEVEL", .fallback = "info", .help = "trace, debug, info, warn, error or off"},
      {.name = "CHECK",
       .type = kBool,
       .fallback = "false",
       .help = "only look whether Patella's kinds are served and an operator renews the Lease, then end: 0 if so"}};
  return kSettings;
}

absl::StatusOr<Config> ParseConfig(const Settings& settings) {
  Config config;
  config.kubeconfig = settings.String("KUBECONFIG");
  for (const std::string_view part : Split(settings.String("WATCH_NAMESPACES"), ',')) {
    const std::string_view name = Strip(part);
    if (name.empty()) continue;
    if (!IsNamespace(name)) {
      return absl::InvalidArgumentError(
          StrCat("WATCH_NAMESPACES holds \"", name, "\"; expected names of namespaces, for example models,staging"));
    }
    config.namespaces.emplace_back(name);
  }
  config.pod_namespace = settings.String("POD_NAMESPACE");
  config.pod_name = settings.String("POD_NAME");
  config.leader_election = settings.Bool("LEADER_ELECTION");
  config.lease_name = settings.String("LEASE_NAME");
  PATELLA_ASSIGN_OR_RETURN(config.admin, ParseAddress("ADMIN", settings.String("ADMIN")));
  config.images = {settings.String("ENGINE_IMAGE"), settings.String("SIDECAR_IMAGE")};
  config.host_model_dir = settings.String("HOST_MODEL_DIR");
  while (config.host_model_dir.size() > 1 && config.host_model_dir.ends_with('/')) config.host_model_dir.pop_back();
  if (!config.host_model_dir.empty() && !config.host_model_dir.starts_with('/')) {
    return absl::InvalidArgumentError(StrCat("HOST_MODEL_DIR is \"", config.host_model_dir,
                                             "\"; expected an absolute path, for example /srv/models"));
  }
  config.workers = static_cast<int>(settings.Int("WORKERS"));
  config.check = settings.Bool("CHECK");
  return config;
}

}  // namespace patella::controller
