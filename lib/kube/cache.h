// The objects of one resource as the API server last told of them.
//
// One writer a scope (a reflector: the whole cluster, or one namespace of several), any number of readers. Reads return
// shared constant objects and take a short shared lock; a list is a snapshot of one moment. Handlers run on the
// writer's thread, after the cache shows the change.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/kube/object.h"

namespace patella::kube {

struct Change {
  enum class Kind { kAdded, kUpdated, kDeleted };
  Kind kind;
  ObjectPtr before;      // null for kAdded
  ObjectPtr after;       // null for kDeleted
  bool initial = false;  // part of the first list: not urgent
  const Object& object() const { return after != nullptr ? *after : *before; }
};
using ChangeHandler = std::function<void(const Change&)>;

class Cache {
 public:
  explicit Cache(Resource resource);
  ~Cache();

  const Resource& resource() const;

  // Called for every change from now on; add handlers before the reflectors start.
  void AddHandler(ChangeHandler handler);

  ObjectPtr Get(std::string_view namespace_name, std::string_view name) const;  // null if absent
  ObjectPtr Get(const ObjectKey& key) const { return Get(key.namespace_name, key.name); }
  std::vector<ObjectPtr> List(std::string_view namespace_name = "") const;  // sorted by key; "": all namespaces
  std::vector<ObjectPtr> ByController(std::string_view uid) const;
  size_t size() const;
  size_t bytes() const;  // of JSON

  // Read your own writes: after a write, tell what came back; SeesWrites is false until the cache is at least as new,
  // or the object is gone, or a minute has passed. A reconcile that finds false comes back in 50 ms.
  void Wrote(const Object& object, TimePoint now);
  bool SeesWrites(const ObjectKey& key, TimePoint now) const;

  // For the reflector. Set and Remove ignore what is older than what is here (of the same uid).
  void Set(ObjectPtr object);
  void Remove(ObjectPtr last_state);
  // All objects of the scope ("": all): what is not among them is removed.
  void Replace(std::string_view namespace_name, std::vector<ObjectPtr> objects, std::string_view resource_version,
               bool initial);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::kube
