// The sidecar's settings: one list (environment NAME, flag --name), and what they mean once parsed.
#pragma once

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "lib/adapters/engine_kind.h"
#include "lib/base/address.h"
#include "lib/base/clock.h"
#include "lib/base/settings.h"
#include "sidecar/cluster/cluster.h"
#include "sidecar/proxy/limiter.h"
#include "sidecar/tuner/options.h"

namespace patella::sidecar {

struct Config {
  std::string engine_host;
  int engine_port = 80;
  std::string engine_path_prefix;  // "" or "/base"
  adapters::EngineKind engine_kind = adapters::EngineKind::kOpenAi;
  std::string control_socket;  // "" : none
  Address listen, admin;
  std::string model, deployment, revision;
  QueueOptions queue;
  Duration engine_start_timeout = std::chrono::seconds(600);
  Duration drain_timeout = std::chrono::seconds(120);
  Duration drain_delay{};  // newcomers are still served after a drain has begun
  std::string state_dir;   // "": the learned limit is forgotten
  TunerOptions tuner;
  ClusterOptions cluster;  // namespace_name "": on its own, not in a cluster
};

std::span<const Setting> SidecarSettings();

// InvalidArgument names the setting, what it was and what is expected.
absl::StatusOr<Config> ParseConfig(const Settings& settings);

// OBJECTIVES: {"latency":[{"metric":…,"quantile":"0.90","targetMs":50}],"knee":{"definition":…,"utilization":"0.7"}}; "" is none.
// Unknown fields are errors.
absl::Status ParseObjectives(const std::string& json, TunerOptions& options);

}  // namespace patella::sidecar
