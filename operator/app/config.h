// The operator's settings: one list (environment NAME, flag --name), and what they mean once parsed.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/address.h"
#include "lib/base/settings.h"
#include "operator/reconcile/inputs.h"

namespace patella::controller {

struct Config {
  std::string kubeconfig;               // "": the pod's service account, else ~/.kube/config
  std::vector<std::string> namespaces;  // empty: all
  std::string pod_namespace, pod_name;
  bool leader_election = true;
  std::string lease_name;
  Address admin;
  reconcile::Images images;
  std::string host_model_dir;
  int workers = 4;
  bool check = false;
};

std::span<const Setting> OperatorSettings();

// InvalidArgument names the setting, what it was and what is expected.
absl::StatusOr<Config> ParseConfig(const Settings& settings);

}  // namespace patella::controller
