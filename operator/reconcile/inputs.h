// What reconcile looks at, as values. On a cluster they are parsed from caches (operator/apply/views.h).
//
// The status of the InferenceDeployment is not among them: nothing is planned from it, so whatever happens to it heals.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/api/accelerator_class.h"
#include "lib/api/inference_deployment.h"
#include "operator/reconcile/plan.h"

namespace patella::reconcile {

// Where a pod's containers find each other and their files. The defaults are a pod's; local mode fills in its own. Nothing here is part
// of the revision: a pod on another port is no other kind of pod.
struct Placement {
  bool local = false;                  // processes on this machine instead of pods: file:// is what the caller resolved
  std::string model_path = "/models";  // of local mode: file or folder
  std::string engine_host = "127.0.0.1";  // loopback: nobody passes by the limiter
  int engine_port = 3000;                 // 0 (local mode, before the engine runs): chosen by the kernel
  std::string listen = "0.0.0.0:8080";
  std::string admin = "0.0.0.0:8081";
  std::string control_socket = "/run/patella/engine.sock";
  std::string state_dir = "/var/lib/patella";
  std::string host_model_dir;  // on a cluster: the folder of each node that file:// means; "": file:// is refused
};

struct Images {
  std::string engine = "patella-engine";
  std::string sidecar = "patella-sidecar";
  bool operator==(const Images&) const = default;
};

// A Deployment of ours that exists.
struct RevisionView {
  std::string name, uid, hash;
  Role role = Role::kServing;
  Images images;
  std::string accelerator_class;  // "": runs on the CPU
  int tensor_parallel_size = 1;
  int pod_version = 0;
  int accelerators = 0;  // that one pod asks for
  int wanted = 0;        // its spec.replicas
  int present = 0;       // pods that there are, those that terminate included where the API server tells
  int ready = 0;
  int updated = 0;        // pods of its present template
  bool observed = false;  // its controller has seen the present spec: the figures belong to it
  bool failed = false;    // Progressing=False, reason ProgressDeadlineExceeded
  std::string failure;    // that condition's message, or ReplicaFailure's
  bool deleting = false;
  bool operator==(const RevisionView&) const = default;
};

struct NodeView {
  std::string name;
  Labels labels;
  std::map<std::string, int64_t> allocatable;  // whole accelerators by resource name
  bool schedulable = true;
  bool operator==(const NodeView&) const = default;
};

struct Inputs {
  api::InferenceDeployment deployment;
  Placement placement;
  Images images;
  int64_t generation = 0;
  bool deleting = false;  // has a deletionTimestamp
  std::vector<RevisionView> revisions;
  std::vector<api::AcceleratorClass> accelerator_classes;
  std::vector<NodeView> nodes;
};

}  // namespace patella::reconcile
