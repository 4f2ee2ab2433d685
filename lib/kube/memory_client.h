// A small object store with the API server's manners in this process: for tests, and for `patella up`.
//
// What it keeps of the real thing: resourceVersion grows with every change and a write that changes nothing keeps it;
// generation rises when anything but metadata and status changes; uid and creationTimestamp; a write to an object
// leaves status alone, and one to its status subresource everything else; preconditions; deletionTimestamp while
// finalizers are left; background deletion of what a deleted object controls; watches with history, bookmarks and 410;
// label selectors and metadata.name; /scale on spec.replicas; generateName. Server-side apply keeps the last intent of
// each manager: fields that a manager gave before and no longer gives, and no other manager gave, are removed; a field
// with another value that another manager gave is a Conflict unless forced. Lists are atomic, but those whose items all
// have one of the keys in `list_keys` (conditions by type, revisions by hash, containers by name). What it leaves out:
// schemas, defaults, validation, admission, RBAC, managedFields in the objects, other field selectors. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/kube/client.h"

namespace patella::kube {

class MemoryClient final : public Client {
 public:
  // One call as a hook sees it.
  struct CallInfo {
    std::string verb;  // get, list, watch, create, update, apply, patch, delete
    const Resource& resource;
    std::string_view namespace_name;
    std::string_view name;
    std::string_view subresource;
    std::string_view body;
    std::string_view manager;
  };

  MemoryClient();
  ~MemoryClient() override;

  // Asked before every call, on the caller's thread and without a lock: an error is returned instead of the call's
  // result. May be null.
  void SetHook(std::function<absl::Status(const CallInfo&)> hook);
  // Every writing call that was let through, as "verb resource[/subresource] ns/name", in order.
  std::vector<std::string> Writes() const;
  void ClearWrites();
  // Watches in progress end: with kEnd if `status` is OK, else with it. A new watch begins as usual.
  void EndWatches(const absl::Status& status = absl::OkStatus());
  // Events up to now are forgotten: a watch from an older resource version fails with 410.
  void Compact();

  absl::StatusOr<ObjectPtr> Get(const Resource& resource, std::string_view namespace_name,
                                std::string_view name) override;
  absl::StatusOr<ListPage> List(const Resource& resource, const ListOptions& options) override;
  std::unique_ptr<WatchStream> Watch(const Resource& resource, const WatchOptions& options) override;
  absl::StatusOr<ObjectPtr> Create(const Resource& resource, std::string_view namespace_name, std::string_view body,
                                   const WriteOptions& options = {}) override;
  absl::StatusOr<ObjectPtr> Update(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                   std::string_view body, const WriteOptions& options = {}) override;
  absl::StatusOr<ObjectPtr> Apply(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                  std::string_view body, const ApplyOptions& options) override;
  absl::StatusOr<ObjectPtr> MergePatch(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                       std::string_view body, const WriteOptions& options = {}) override;
  absl::Status Delete(const Resource& resource, std::string_view namespace_name, std::string_view name,
                      const DeleteOptions& options = {}) override;
  absl::StatusOr<Scale> GetScale(const Resource& resource, std::string_view namespace_name,
                                 std::string_view name) override;
  absl::StatusOr<Scale> SetScale(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                 int replicas, std::string_view resource_version = "",
                                 const WriteOptions& options = {}) override;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace patella::kube
