// Kubernetes objects as Patella keeps them: the JSON bytes of the API server, immutable, beside a small parsed index.
//
// A cached object costs its JSON (without managedFields) and about 300 bytes. Whoever needs a field outside the index
// parses json(). ObjectPtr is shared and const: an object in a cache cannot be changed by mistake. Thread-safe: values
// that never change.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace patella::kube {

// A kind of object as the API server's paths name it. The views must outlive the value; constants below.
struct Resource {
  std::string_view group;  // "" for the core group
  std::string_view version;
  std::string_view plural;
  std::string_view kind;
  bool namespaced = true;
};

inline constexpr Resource kConfigMaps{"", "v1", "configmaps", "ConfigMap"};
inline constexpr Resource kSecrets{"", "v1", "secrets", "Secret"};
inline constexpr Resource kServices{"", "v1", "services", "Service"};
inline constexpr Resource kServiceAccounts{"", "v1", "serviceaccounts", "ServiceAccount"};
inline constexpr Resource kNodes{"", "v1", "nodes", "Node", false};
inline constexpr Resource kNamespaces{"", "v1", "namespaces", "Namespace", false};
inline constexpr Resource kEvents{"events.k8s.io", "v1", "events", "Event"};
inline constexpr Resource kDeployments{"apps", "v1", "deployments", "Deployment"};
inline constexpr Resource kPodDisruptionBudgets{"policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"};
inline constexpr Resource kRoles{"rbac.authorization.k8s.io", "v1", "roles", "Role"};
inline constexpr Resource kRoleBindings{"rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"};
inline constexpr Resource kLeases{"coordination.k8s.io", "v1", "leases", "Lease"};
inline constexpr Resource kInferenceDeployments{"patella.dev", "v1alpha1", "inferencedeployments",
                                                "InferenceDeployment"};
inline constexpr Resource kAcceleratorClasses{"patella.dev", "v1alpha1", "acceleratorclasses", "AcceleratorClass",
                                              false};

// "v1" or "apps/v1".
std::string ApiVersionOf(const Resource& resource);

// "deployments.apps", as the API server and kubectl write it; "pods" in the core group.
std::string QualifiedName(const Resource& resource);

// "/apis/apps/v1/namespaces/NS/deployments/NAME/SUBRESOURCE", each part percent-encoded. An empty name gives the
// collection, an empty namespace (or a cluster-scoped resource) the whole cluster.
std::string ResourcePath(const Resource& resource, std::string_view namespace_name, std::string_view name = "",
                         std::string_view subresource = "");

std::string PercentEncode(std::string_view text);

// What a work queue and a cache know an object by. namespace_name is "" for cluster-scoped objects.
struct ObjectKey {
  std::string namespace_name;
  std::string name;
  auto operator<=>(const ObjectKey&) const = default;
  std::string ToString() const;  // "ns/name", or "name" alone
};

struct ObjectKeyHash {
  size_t operator()(const ObjectKey& key) const;
};

class Object;
using ObjectPtr = std::shared_ptr<const Object>;

class Object {
 public:
  // Reads one object. managedFields is left out of json(); where `resource` is given, a missing apiVersion and kind are
  // put in (the API server leaves them out of list items). InvalidArgument: not a JSON object, or metadata is not one.
  static absl::StatusOr<ObjectPtr> Parse(std::string_view json, const Resource* resource = nullptr);

  std::string_view json() const { return {bytes_.get(), json_size_}; }

  std::string_view api_version() const { return api_version_; }
  std::string_view kind() const { return kind_; }
  std::string_view namespace_name() const { return namespace_name_; }
  std::string_view name() const { return name_; }
  std::string_view uid() const { return uid_; }
  std::string_view resource_version() const { return resource_version_; }
  int64_t generation() const { return generation_; }  // 0 if the kind has none
  bool deleting() const { return deleting_; }         // deletionTimestamp is set
  ObjectKey key() const { return {std::string(namespace_name_), std::string(name_)}; }

  // In the order of the JSON, which the API server sorts by key.
  const std::vector<std::pair<std::string_view, std::string_view>>& labels() const { return labels_; }
  std::string_view label(std::string_view key) const;  // "" if absent

  // The owner reference with controller: true; "" without one.
  std::string_view controller_uid() const { return controller_uid_; }
  std::string_view controller_kind() const { return controller_kind_; }
  std::string_view controller_name() const { return controller_name_; }

  // Annotation k8s.io/initial-events-end: "true", which marks the bookmark after the initial events of a watch-list.
  bool initial_events_end() const { return initial_events_end_; }

 private:
  Object() = default;
  friend struct ObjectBuilder;

  std::unique_ptr<char[]> bytes_;  // the JSON, then the index's strings, unescaped: one exact allocation
  uint32_t json_size_ = 0;
  bool deleting_ = false;
  bool initial_events_end_ = false;
  int64_t generation_ = 0;
  std::string_view api_version_, kind_, namespace_name_, name_, uid_, resource_version_;
  std::string_view controller_uid_, controller_kind_, controller_name_;
  std::vector<std::pair<std::string_view, std::string_view>> labels_;
};

struct ListPage {
  std::vector<ObjectPtr> items;
  std::string resource_version;
  std::string continue_token;  // "" on the last page
};
absl::StatusOr<ListPage> ParseList(std::string_view json, const Resource& resource);

enum class WatchEventType { kAdded, kModified, kDeleted, kBookmark, kError, kEnd, kNothingYet };
struct WatchEvent {
  WatchEventType type = WatchEventType::kNothingYet;
  ObjectPtr object;        // of the first four types; of a bookmark only resource_version and initial_events_end matter
  std::string error_json;  // of kError: the Status object
};
// One line of a watch. kEnd and kNothingYet are never in a line: see WatchStream::Next.
absl::StatusOr<WatchEvent> ParseWatchEvent(std::string_view line);

// -1, 0, 1 as a is older than, the same as, or newer than b. Of one resource type the API server promises that resource
// versions are numbers that grow (KEP-5504); 2: not comparable, one is not a number.
int CompareResourceVersions(std::string_view a, std::string_view b);

}  // namespace patella::kube
