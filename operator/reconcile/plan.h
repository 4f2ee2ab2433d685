// What must exist for one InferenceDeployment, as plain values in Kubernetes' terms. Thread-compatible.
//
// Invariants: every child carries app.kubernetes.io/managed-by and patella.dev/deployment, those of one revision also patella.dev/revision
// and patella.dev/role; names are unique within a kind. A pod's own role is fixed at birth, because a change to its template would restart
// it: readiness alone decides who gets requests, and the role of a Deployment (which may change) says where its revision stands.
//
// How children are written in JSON: operator/render.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace patella::reconcile {

using Labels = std::map<std::string, std::string>;

inline constexpr char kManagedByLabel[] = "app.kubernetes.io/managed-by";
inline constexpr char kManagedBy[] = "patella";
inline constexpr char kDeploymentLabel[] = "patella.dev/deployment";
inline constexpr char kRevisionLabel[] = "patella.dev/revision";
inline constexpr char kRoleLabel[] = "patella.dev/role";
// Of a Deployment: the choices that its revision was made with, so that they hold for its whole life.
inline constexpr char kClassAnnotation[] = "patella.dev/accelerator-class";
inline constexpr char kTensorParallelAnnotation[] = "patella.dev/tensor-parallel-size";
inline constexpr char kPodVersionAnnotation[] = "patella.dev/pod-version";

// Raise it with every change to pod.cc, settings.cc or render that would make the API server restart pods: then the old layout stays until the
// user (updatePolicy) moves on.
inline constexpr int kPodVersion = 1;

enum class Role { kServing, kTrial, kRetiring };
std::string_view LabelOf(Role role);  // "serving"

// One environment variable: a value, or where the value comes from.
struct Env {
  enum class Source { kValue, kField, kSecret, kConfigMap };
  std::string name;
  std::string value;  // of kField: its path
  Source source = Source::kValue;
  std::string object = {};  // of kSecret and kConfigMap: name and key
  std::string key = {};
  bool operator==(const Env&) const = default;
};

struct Port {
  std::string name;
  int number = 0;
  int target = 0;  // of a Service; 0: the same
  bool operator==(const Port&) const = default;
};

struct HttpProbe {
  std::string path;
  int port = 0;  // a number: a name would be looked for among the ports of the probed container itself
  int period_seconds = 5;
  int failure_threshold = 3;
  int timeout_seconds = 2;
  bool operator==(const HttpProbe&) const = default;
};

struct Volume {
  enum class Kind { kEmptyDir, kClaim, kImage, kHostPath, kSecret, kToken };
  std::string name;
  Kind kind = Kind::kEmptyDir;
  std::string source;  // claim, image, path on the node, or secret; of an emptyDir its medium
  bool operator==(const Volume&) const = default;
};

struct Mount {
  std::string volume;
  std::string path;
  bool read_only = false;
  bool operator==(const Mount&) const = default;
};

struct Container {
  std::string name;  // "engine", "sidecar"
  std::string image;
  std::vector<std::string> args;
  std::vector<std::string> env_from;  // ConfigMaps
  std::vector<Env> env;               // wins over env_from
  std::vector<Port> ports;
  std::vector<Mount> mounts;
  Labels requests, limits;  // quantities by resource
  std::string resources;    // the user's own, JSON; wins over both
  std::string user_mounts;  // the user's own, JSON: where spec.pod.volumes are mounted
  std::optional<HttpProbe> startup_probe, readiness_probe, liveness_probe;
  std::string pre_stop_path;    // GET on the sidecar's admin port before the container is stopped; "" for none
  bool native_sidecar = false;  // an init container with restartPolicy: Always: starts first, stops last
  bool read_only_root = true;
  bool operator==(const Container&) const = default;
};

// What the user adds to the pod, JSON; "" is nothing.
struct UserPodFields {
  std::string tolerations, affinity, topology_spread_constraints, image_pull_secrets, volumes;
  std::string priority_class_name;
  bool operator==(const UserPodFields&) const = default;
};

struct PodTemplate {
  Labels labels;
  Labels annotations;
  Labels node_selector;
  std::vector<Container> containers;
  std::vector<Volume> volumes;
  std::string service_account;
  UserPodFields user;
  int termination_grace_seconds = 30;
  bool operator==(const PodTemplate&) const = default;
};

struct Deployment {
  std::string name;
  Labels labels;
  Labels annotations;
  Labels selector;
  int replicas = 1;
  int max_surge = 1;        // when its own template changes; 0 where no accelerator is left for it,
  int max_unavailable = 0;  // and then this is 1
  int progress_deadline_seconds = 600;
  PodTemplate pod;
  bool operator==(const Deployment&) const = default;
};

// A Deployment whose template stays as it is: of a revision that is no longer wanted (its pods become fewer, then it goes), or of the wanted
// one if an older operator laid its pods out.
struct RetainedDeployment {
  std::string name;
  std::string uid;  // of the object meant, so that another of that name is left alone
  std::string revision;
  Role role = Role::kRetiring;
  int replicas = 0;
  bool operator==(const RetainedDeployment&) const = default;
};

struct ConfigMap {
  std::string name;
  Labels labels;
  std::map<std::string, std::string> settings;
  bool immutable = false;
  bool operator==(const ConfigMap&) const = default;
};

struct Service {
  std::string name;
  Labels labels;
  Labels selector;
  std::vector<Port> ports;
  bool headless = false;  // and then addresses of pods that are not ready yet are published too
  bool operator==(const Service&) const = default;
};

// The sidecars' identity: ServiceAccount, Role and RoleBinding NAME-autotuner, and the Lease of the same name that they elect by.
struct Access {
  std::string name;
  Labels labels;
  std::string service_account;  // `name`, or the user's own, which is then not made
  std::string deployment;       // the InferenceDeployment that they may publish to
  bool operator==(const Access&) const = default;
};

struct DisruptionBudget {
  std::string name;
  Labels labels;
  Labels selector;
  bool operator==(const DisruptionBudget&) const = default;
};

// Certificates by which the sidecars of one deployment know each other. Whoever executes the plan makes and renews them.
struct PeerSecret {
  std::string name;
  Labels labels;
  std::vector<std::string> dns_names;
  bool operator==(const PeerSecret&) const = default;
};

struct Condition {
  std::string type;  // "Ready", "CapacityAvailable", "UpdateAvailable", "Reconciling", "Stalled"
  bool status = false;
  std::string reason;
  std::string message;
  bool operator==(const Condition&) const = default;
};

struct RevisionStatus {
  std::string hash;
  Role role = Role::kServing;
  std::string accelerator_class;
  int tensor_parallel_size = 1;
  int replicas = 0;
  int ready_replicas = 0;
  std::string replica_cost_per_hour;  // dollars, "1.536"; "" if no price is known
  bool operator==(const RevisionStatus&) const = default;
};

// The operator's part of status.
struct Status {
  int64_t observed_generation = 0;
  int replicas = 0, ready_replicas = 0;
  std::string replica_summary;  // ready and wanted, "3/4", for people
  std::string selector;
  std::vector<RevisionStatus> revisions;
  bool operator==(const Status&) const = default;
};

struct Plan {
  std::string revision;      // hash of the wanted one
  std::string choice;        // accelerator class and degree, and why, for people
  bool hold = false;         // paused, being deleted, or impossible: children stay as they are, none is made or removed
  int desired_replicas = 0;  // spec.replicas within scaling's bounds
  std::string cost_per_hour;  // of the wanted revision, "12.29"; "" if no price is known
  std::vector<ConfigMap> config_maps;
  std::vector<Deployment> deployments;
  std::vector<RetainedDeployment> retained;
  std::vector<Service> services;
  std::optional<Access> access;
  std::optional<DisruptionBudget> disruption_budget;
  std::optional<PeerSecret> peers;
  Status status;
  std::vector<Condition> conditions;
  bool operator==(const Plan&) const = default;
};

const Condition* FindCondition(const Plan& plan, std::string_view type);  // null if there is none

}  // namespace patella::reconcile
