// From wish to children: the pure heart of the operator, which local mode runs too.
#pragma once

#include <string>
#include <vector>

#include "lib/api/inference_deployment.h"
#include "lib/base/clock.h"
#include "operator/reconcile/plan.h"

namespace patella::reconcile {

// Where a pod's containers find each other and their files. The defaults are a pod's; local mode fills in its own. Nothing here is part
// of the revision: a pod on another port is no other kind of pod.
struct Placement {
  std::string model_path = "/models";     // file or folder
  std::string engine_host = "127.0.0.1";  // loopback: nobody passes by the limiter
  int engine_port = 3000;                 // 0 (local mode, before the engine runs): chosen by the kernel
  std::string listen = "0.0.0.0:8080";
  std::string admin = "0.0.0.0:8081";
  std::string control_socket = "/run/patella/engine.sock";
  std::string state_dir = "/var/lib/patella";
};

struct Images {
  std::string engine = "patella-engine";
  std::string sidecar = "patella-sidecar";
};

struct Inputs {
  api::InferenceDeployment deployment;
  Placement placement;
  Images images;
};

// Never fails: what cannot be served is a condition Stalled with the reason, and no children.
Plan Reconcile(const Inputs& inputs, TimePoint now);

// What makes pods unlike: model, engine image, arguments and environment, tensor parallelism, sidecar image. Eight hexadecimal digits.
std::string RevisionOf(const api::InferenceDeployment& deployment, const Images& images);

std::vector<Env> EngineSettings(const Inputs& inputs);
std::vector<Env> SidecarSettings(const Inputs& inputs, const std::string& revision);

// spec.objectives as the sidecar's OBJECTIVES: {"latency":[…],"knee":{…}}.
std::string ObjectivesJson(const api::ObjectivesSpec& objectives);

}  // namespace patella::reconcile
