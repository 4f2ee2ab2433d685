#include "lib/kube/cache.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <unordered_map>
#include <unordered_set>

namespace patella::kube {
namespace {

constexpr Duration kWriteMemory = std::chrono::minutes(1);  // a write whose event never came is forgotten

using KeySet = std::set<ObjectKey>;

}  // namespace

struct Cache::Impl {
  struct Write {
    std::string resource_version;
    TimePoint at;
  };

  Resource resource;
  std::vector<ChangeHandler> handlers;

  mutable std::shared_mutex mutex;
  std::map<ObjectKey, ObjectPtr> objects;
  std::unordered_map<std::string, KeySet> by_controller;
  std::map<ObjectKey, Write> writes;
  size_t bytes = 0;

  void Index(const Object& object, bool add) {
    const auto change = [&](auto& index, const auto& at) {
      if (add) {
        index[at].insert(object.key());
      } else if (const auto found = index.find(at); found != index.end()) {
        found->second.erase(object.key());
        if (found->second.empty()) index.erase(found);
      }
    };
    if (!object.controller_uid().empty()) change(by_controller, std::string(object.controller_uid()));
    if (add) {
      bytes += object.json().size();
    } else {
      bytes -= object.json().size();
    }
  }

  // With the lock held. Null, and nothing done, if `object` is older than what is here.
  std::optional<Change> SetLocked(ObjectPtr object, bool initial) {
    ObjectPtr& place = objects[object->key()];
    const ObjectPtr before = place;
    if (before != nullptr && before->uid() == object->uid() &&
        CompareResourceVersions(object->resource_version(), before->resource_version()) == -1) {
      return std::nullopt;
    }
    if (before != nullptr) Index(*before, false);
    Index(*object, true);
    place = object;
    Settle(object->key(), object->resource_version());
    return Change{before == nullptr ? Change::Kind::kAdded : Change::Kind::kUpdated, before, object, initial};
  }

  Change EraseLocked(std::map<ObjectKey, ObjectPtr>::iterator at, ObjectPtr last_state) {
    Index(*at->second, false);
    objects.erase(at);
    return Change{Change::Kind::kDeleted, std::move(last_state), nullptr};
  }

  // `version` of the object has been seen: writes up to it are.
  void Settle(const ObjectKey& key, std::string_view version) {
    const auto found = writes.find(key);
    if (found == writes.end()) return;
    const int order = CompareResourceVersions(version, found->second.resource_version);
    if (order == 0 || order == 1) writes.erase(found);
  }

  void Tell(const std::vector<Change>& changes) const {
    for (const Change& change : changes) {
      for (const ChangeHandler& handler : handlers) handler(change);
    }
  }

  std::vector<ObjectPtr> Resolve(const KeySet& keys, std::string_view namespace_name) const {
    std::vector<ObjectPtr> found;
    for (const ObjectKey& key : keys) {
      if (!namespace_name.empty() && key.namespace_name != namespace_name) continue;
      found.push_back(objects.at(key));
    }
    return found;
  }
};

Cache::Cache(Resource resource) : impl_(std::make_unique<Impl>()) { impl_->resource = resource; }
Cache::~Cache() = default;

const Resource& Cache::resource() const { return impl_->resource; }

void Cache::AddHandler(ChangeHandler handler) { impl_->handlers.push_back(std::move(handler)); }

ObjectPtr Cache::Get(std::string_view namespace_name, std::string_view name) const {
  const std::shared_lock lock(impl_->mutex);
  const auto found = impl_->objects.find(ObjectKey{std::string(namespace_name), std::string(name)});
  return found == impl_->objects.end() ? nullptr : found->second;
}

std::vector<ObjectPtr> Cache::List(std::string_view namespace_name) const {
  const std::shared_lock lock(impl_->mutex);
  std::vector<ObjectPtr> found;
  const auto& objects = impl_->objects;
  auto at = namespace_name.empty() ? objects.begin() : objects.lower_bound({std::string(namespace_name), ""});
  for (; at != objects.end(); ++at) {
    if (!namespace_name.empty() && at->first.namespace_name != namespace_name) break;
    found.push_back(at->second);
  }
  return found;
}

std::vector<ObjectPtr> Cache::ByController(std::string_view uid) const {
  const std::shared_lock lock(impl_->mutex);
  const auto found = impl_->by_controller.find(std::string(uid));
  return found == impl_->by_controller.end() ? std::vector<ObjectPtr>() : impl_->Resolve(found->second, "");
}

size_t Cache::size() const {
  const std::shared_lock lock(impl_->mutex);
  return impl_->objects.size();
}

size_t Cache::bytes() const {
  const std::shared_lock lock(impl_->mutex);
  return impl_->bytes;
}

void Cache::Wrote(const Object& object, TimePoint now) {
  const std::unique_lock lock(impl_->mutex);
  const auto seen = impl_->objects.find(object.key());
  if (seen != impl_->objects.end()) {
    const int order = CompareResourceVersions(seen->second->resource_version(), object.resource_version());
    if (order == 0 || order == 1) return;
  }
  impl_->writes[object.key()] = {std::string(object.resource_version()), now};
}

bool Cache::SeesWrites(const ObjectKey& key, TimePoint now) const {
  const std::shared_lock lock(impl_->mutex);
  const auto found = impl_->writes.find(key);
  return found == impl_->writes.end() || now - found->second.at > kWriteMemory;
}

void Cache::Set(ObjectPtr object) {
  std::vector<Change> changes;
  {
    const std::unique_lock lock(impl_->mutex);
    if (std::optional<Change> change = impl_->SetLocked(std::move(object), false))
      changes.push_back(std::move(*change));
  }
  impl_->Tell(changes);
}

void Cache::Remove(ObjectPtr last_state) {
  std::vector<Change> changes;
  {
    const std::unique_lock lock(impl_->mutex);
    impl_->Settle(last_state->key(), last_state->resource_version());
    const auto found = impl_->objects.find(last_state->key());
    const bool here = found != impl_->objects.end();
    const bool newer_here =
        here && (found->second->uid() != last_state->uid() ||
                 CompareResourceVersions(last_state->resource_version(), found->second->resource_version()) == -1);
    if (here && !newer_here) changes.push_back(impl_->EraseLocked(found, std::move(last_state)));
  }
  impl_->Tell(changes);
}

void Cache::Replace(std::string_view namespace_name, std::vector<ObjectPtr> objects, std::string_view resource_version,
                    bool initial) {
  std::vector<Change> changes;
  {
    const std::unique_lock lock(impl_->mutex);
    std::unordered_set<ObjectKey, ObjectKeyHash> listed;
    for (const ObjectPtr& object : objects) listed.insert(object->key());
    for (auto at = impl_->objects.begin(); at != impl_->objects.end();) {
      const auto next = std::next(at);
      const bool in_scope = namespace_name.empty() || at->first.namespace_name == namespace_name;
      if (in_scope && !listed.contains(at->first)) {
        const ObjectPtr last = at->second;
        changes.push_back(impl_->EraseLocked(at, last));
      }
      at = next;
    }
    for (ObjectPtr& object : objects) {
      const auto here = impl_->objects.find(object->key());
      const bool same = here != impl_->objects.end() && here->second->uid() == object->uid() &&
                        here->second->resource_version() == object->resource_version();
      if (same) continue;
      if (std::optional<Change> change = impl_->SetLocked(std::move(object), initial)) {
        changes.push_back(std::move(*change));
      }
    }
    // What was written and is not in a list this new is gone again.
    std::erase_if(impl_->writes, [&](const auto& write) {
      const bool in_scope = namespace_name.empty() || write.first.namespace_name == namespace_name;
      const int order = CompareResourceVersions(resource_version, write.second.resource_version);
      return in_scope && !listed.contains(write.first) && (order == 0 || order == 1);
    });
  }
  impl_->Tell(changes);
}

}  // namespace patella::kube
