#include "lib/kube/memory_client.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "lib/base/rfc3339.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/memory_apply.h"
#include "lib/kube/selector.h"

namespace patella::kube {
namespace {

using nlohmann::json;

constexpr size_t kHistory = 10'000;  // events; a watch from before them gets 410

struct EntryKey {
  std::string resource;  // "deployments.apps"
  ObjectKey key;
  auto operator<=>(const EntryKey&) const = default;
};

struct Entry {
  Resource resource;
  json object;
  ObjectPtr shared;  // the same, as readers get it
  Intents intents;   // "manager" or "manager/status"
};

struct HistoryEvent {
  int64_t version;
  std::string resource;
  ObjectPtr before, after;
};

RequestInfo InfoOf(const MemoryClient::CallInfo& call) {
  return {std::string(call.verb),           QualifiedName(call.resource), std::string(call.subresource),
          std::string(call.namespace_name), std::string(call.name),       ""};
}

absl::Status Refused(const MemoryClient::CallInfo& call, int code, std::string reason, std::string message,
                     std::vector<ApiErrorCause> causes = {}) {
  return ToStatus(ApiError{code, std::move(reason), std::move(message), std::move(causes), std::nullopt}, InfoOf(call));
}

absl::Status Missing(const MemoryClient::CallInfo& call) {
  return Refused(call, 404, "NotFound", StrCat(QualifiedName(call.resource), " \"", call.name, "\" not found"));
}

absl::StatusOr<json> ParseBody(const MemoryClient::CallInfo& call) {
  json body = json::parse(call.body, nullptr, /*allow_exceptions=*/false);
  if (!body.is_object()) return Refused(call, 400, "BadRequest", "the body is not a JSON object");
  json& metadata = body["metadata"];
  if (!metadata.is_object()) metadata = json::object();
  return body;
}

std::string TextAt(const json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// What raises metadata.generation when it changes.
json SpecOf(json object) {
  for (const char* other : {"metadata", "status", "apiVersion", "kind"}) object.erase(other);
  return object;
}

bool SameButVersion(json a, json b) {
  a["metadata"].erase("resourceVersion");
  b["metadata"].erase("resourceVersion");
  return a == b;
}

void TakeFrom(json& object, const json& from, const char* field) {
  if (from.contains(field)) {
    object[field] = from[field];
  } else {
    object.erase(field);
  }
}

bool HasFinalizers(const json& object) {
  const auto& metadata = object["metadata"];
  return metadata.contains("finalizers") && !metadata["finalizers"].empty();
}

}  // namespace

struct MemoryClient::Impl {
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::function<absl::Status(const CallInfo&)> hook;
  std::vector<std::string> writes;
  std::map<EntryKey, Entry> entries;
  std::deque<HistoryEvent> history;
  int64_t version = 0, compacted = 0;  // events up to `compacted` are forgotten
  uint64_t uids = 0, names = 0;
  uint64_t watch_era = 0;  // watches of an older one have ended
  absl::Status watch_end;
  const ListKeys list_keys = {
      {"conditions", "type"}, {"revisions", "hash"}, {"containers", "name"},     {"initContainers", "name"},
      {"env", "name"},        {"volumes", "name"},   {"ownerReferences", "uid"}, {"volumeMounts", "mountPath"}};

  absl::Status Ask(const CallInfo& call);
  absl::StatusOr<Entry*> Find(const CallInfo& call);
  absl::StatusOr<ObjectPtr> Insert(const CallInfo& call, json object, Intents intents);
  absl::StatusOr<ObjectPtr> Replace(const CallInfo& call, Entry& entry, json wanted);
  absl::Status CheckPreconditions(const CallInfo& call, const Entry& entry, const std::string& uid,
                                  const std::string& resource_version) const;
  class Watcher;

  void Tell(const std::string& resource, ObjectPtr before, ObjectPtr after);
  void Share(Entry& entry);
  void Remove(const EntryKey& key, Propagation propagation);
  void Collect(const std::string& uid);
};

absl::Status MemoryClient::Impl::Ask(const CallInfo& call) {
  std::function<absl::Status(const CallInfo&)> asked;
  {
    const std::lock_guard lock(mutex);
    asked = hook;
  }
  if (asked != nullptr) PATELLA_RETURN_IF_ERROR(asked(call));
  if (call.verb == "get" || call.verb == "list" || call.verb == "watch") return absl::OkStatus();
  const std::lock_guard lock(mutex);
  const std::string resource =
      StrCat(QualifiedName(call.resource), call.subresource.empty() ? "" : "/", call.subresource);
  writes.push_back(StrCat(call.verb, " ", resource, " ", call.namespace_name, "/", call.name));
  return absl::OkStatus();
}

absl::StatusOr<Entry*> MemoryClient::Impl::Find(const CallInfo& call) {
  const auto found =
      entries.find({QualifiedName(call.resource), {std::string(call.namespace_name), std::string(call.name)}});
  if (found == entries.end()) return Missing(call);
  return &found->second;
}

void MemoryClient::Impl::Share(Entry& entry) {
  entry.object["metadata"]["resourceVersion"] = StrCat(++version);
  const std::string text = entry.object.dump(-1, ' ', false, json::error_handler_t::replace);
  entry.shared = *Object::Parse(text, &entry.resource);  // what we printed parses
}

void MemoryClient::Impl::Tell(const std::string& resource, ObjectPtr before, ObjectPtr after) {
  history.push_back({version, resource, std::move(before), std::move(after)});
  if (history.size() > kHistory) {
    compacted = history.front().version;
    history.pop_front();
  }
  changed.notify_all();
}

absl::Status MemoryClient::Impl::CheckPreconditions(const CallInfo& call, const Entry& entry, const std::string& uid,
                                                    const std::string& resource_version) const {
  if ((uid.empty() || uid == entry.shared->uid()) &&
      (resource_version.empty() || resource_version == entry.shared->resource_version()))
    return absl::OkStatus();
  return Refused(
      call, 409, "Conflict",
      StrCat("Operation cannot be fulfilled on ", QualifiedName(call.resource), " \"", call.name,
             "\": the object has been modified; please apply your changes to the latest version and try again"));
}

absl::StatusOr<ObjectPtr> MemoryClient::Impl::Insert(const CallInfo& call, json object, Intents intents) {
  json& metadata = object["metadata"];
  std::string name = TextAt(metadata, "name");
  if (name.empty() && !TextAt(metadata, "generateName").empty())
    name = StrCat(TextAt(metadata, "generateName"), absl::StrFormat("%05x", ++names));
  if (name.empty()) return Refused(call, 422, "Invalid", "metadata.name or generateName is required");
  const ObjectKey key{call.resource.namespaced ? std::string(call.namespace_name) : "", name};
  const EntryKey entry_key{QualifiedName(call.resource), key};
  if (entries.contains(entry_key))
    return Refused(call, 409, "AlreadyExists", StrCat(entry_key.resource, " \"", name, "\" already exists"));
  metadata["name"] = name;
  if (call.resource.namespaced) metadata["namespace"] = key.namespace_name;
  metadata["uid"] = absl::StrFormat("00000000-0000-4000-8000-%012x", ++uids);
  metadata["creationTimestamp"] = Rfc3339(std::chrono::system_clock::now());
  metadata["generation"] = 1;
  object["apiVersion"] = ApiVersionOf(call.resource);
  object["kind"] = call.resource.kind;
  object.erase("status");
  Entry& entry = entries[entry_key];
  entry = {call.resource, std::move(object), nullptr, std::move(intents)};
  Share(entry);
  Tell(entry_key.resource, nullptr, entry.shared);
  return entry.shared;
}

// `wanted` is the whole object as this write would have it; what the call may not touch is put back.
absl::StatusOr<ObjectPtr> MemoryClient::Impl::Replace(const CallInfo& call, Entry& entry, json wanted) {
  if (call.subresource == "status") {
    json status = wanted.contains("status") ? wanted["status"] : json();
    wanted = entry.object;
    if (status.is_null()) {
      wanted.erase("status");
    } else {
      wanted["status"] = std::move(status);
    }
  } else {
    TakeFrom(wanted, entry.object, "status");
    for (const char* ours : {"name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp"})
      TakeFrom(wanted["metadata"], entry.object["metadata"], ours);
    if (SpecOf(wanted) != SpecOf(entry.object)) {
      const auto generation = wanted["metadata"].find("generation");
      *generation = generation->get<int64_t>() + 1;
    }
  }
  wanted["apiVersion"] = entry.object["apiVersion"];
  wanted["kind"] = entry.object["kind"];
  wanted["metadata"].erase("managedFields");
  if (SameButVersion(wanted, entry.object)) return entry.shared;
  const ObjectPtr before = entry.shared;
  entry.object = std::move(wanted);
  Share(entry);
  const ObjectPtr after = entry.shared;
  const bool gone = entry.object["metadata"].contains("deletionTimestamp") && !HasFinalizers(entry.object);
  Tell(QualifiedName(call.resource), before, after);
  if (gone) Remove({QualifiedName(call.resource), after->key()}, Propagation::kBackground);
  return after;
}

void MemoryClient::Impl::Remove(const EntryKey& key, Propagation propagation) {
  const auto found = entries.find(key);
  Share(found->second);  // a deletion has a version of its own
  const ObjectPtr last = found->second.shared;
  entries.erase(found);
  Tell(key.resource, last, nullptr);
  if (propagation != Propagation::kOrphan) Collect(std::string(last->uid()));
}

// What the owner with this uid was the last of the owners of.
void MemoryClient::Impl::Collect(const std::string& uid) {
  const auto lives = [&](const json& owner) {
    return std::any_of(entries.begin(), entries.end(),
                       [&](const auto& e) { return e.second.shared->uid() == TextAt(owner, "uid"); });
  };
  std::vector<EntryKey> orphans;
  for (const auto& [key, entry] : entries) {
    const json& metadata = entry.object["metadata"];
    const auto owners = metadata.find("ownerReferences");
    if (owners == metadata.end() || !owners->is_array()) continue;
    const bool owned =
        std::any_of(owners->begin(), owners->end(), [&](const json& o) { return TextAt(o, "uid") == uid; });
    if (owned && std::none_of(owners->begin(), owners->end(), lives)) orphans.push_back(key);
  }
  for (const EntryKey& key : orphans) {
    const auto found = entries.find(key);
    if (found == entries.end()) continue;
    if (!HasFinalizers(found->second.object)) {
      Remove(key, Propagation::kBackground);
      continue;
    }
    const ObjectPtr before = found->second.shared;
    found->second.object["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z";
    Share(found->second);
    Tell(key.resource, before, found->second.shared);
  }
}

// Reads the history from its version on; what enters or leaves the selection is added or deleted, as on the API server.
class MemoryClient::Impl::Watcher final : public WatchStream {
 public:
  Watcher(std::shared_ptr<Impl> impl, const Resource& resource, const WatchOptions& options, Selector selector)
      : impl_(std::move(impl)),
        resource_(QualifiedName(resource)),
        namespace_(resource.namespaced ? options.namespace_name : ""),
        selector_(std::move(selector)),
        ends_(std::chrono::steady_clock::now() + options.timeout) {
    const std::lock_guard lock(impl_->mutex);
    era_ = impl_->watch_era;
    seen_ = impl_->version;
    const std::string& from = options.resource_version;
    const bool from_now = options.send_initial_events || from.empty() || from == "0";
    if (!from_now) {
      seen_ = std::atoll(from.c_str());
      return;
    }
    for (const auto& [key, entry] : impl_->entries) {
      if (key.resource == resource_ && Selects(entry.shared))
        initial_.push_back({WatchEventType::kAdded, entry.shared, ""});
    }
    if (options.send_initial_events) initial_.push_back(Bookmark(resource));
  }
  ~Watcher() override { Cancel(); }

  absl::StatusOr<WatchEvent> Next(Duration wait) override {
    const TimePoint until = std::min(std::chrono::steady_clock::now() + wait, ends_);
    std::unique_lock lock(impl_->mutex);
    while (true) {
      if (cancelled_) return absl::CancelledError("the watch was cancelled");
      if (era_ != impl_->watch_era) {
        PATELLA_RETURN_IF_ERROR(impl_->watch_end);
        return WatchEvent{WatchEventType::kEnd, nullptr, ""};
      }
      if (!initial_.empty()) {
        WatchEvent event = std::move(initial_.front());
        initial_.pop_front();
        return event;
      }
      if (seen_ < impl_->compacted) {
        return ToStatus(
            ApiError{410, "Expired", StrCat("too old resource version: ", seen_, " (", impl_->compacted, ")"), {}, {}},
            {"watch", resource_, "", namespace_, "", ""});
      }
      if (std::optional<WatchEvent> event = FromHistory()) return *std::move(event);
      if (std::chrono::steady_clock::now() >= ends_) return WatchEvent{WatchEventType::kEnd, nullptr, ""};
      if (wait <= Duration::zero()) return WatchEvent{};
      if (impl_->changed.wait_until(lock, until) == std::cv_status::timeout && std::chrono::steady_clock::now() < ends_)
        return WatchEvent{};
    }
  }

  void Cancel() override {
    const std::lock_guard lock(impl_->mutex);
    cancelled_ = true;
    impl_->changed.notify_all();
  }

 private:
  bool Selects(const ObjectPtr& object) const {
    return object != nullptr && (namespace_.empty() || object->namespace_name() == namespace_) &&
           selector_.Matches(*object);
  }

  WatchEvent Bookmark(const Resource& resource) const {
    const json bookmark = {
        {"metadata",
         {{"resourceVersion", StrCat(impl_->version)}, {"annotations", {{"k8s.io/initial-events-end", "true"}}}}}};
    return {WatchEventType::kBookmark, *Object::Parse(bookmark.dump(), &resource), ""};
  }

  std::optional<WatchEvent> FromHistory() {
    auto event = std::upper_bound(impl_->history.begin(), impl_->history.end(), seen_,
                                  [](int64_t version, const HistoryEvent& e) { return version < e.version; });
    for (; event != impl_->history.end(); ++event) {
      seen_ = event->version;
      if (event->resource != resource_) continue;
      const bool before = Selects(event->before), after = Selects(event->after);
      if (after) return WatchEvent{before ? WatchEventType::kModified : WatchEventType::kAdded, event->after, ""};
      if (before)
        return WatchEvent{WatchEventType::kDeleted, event->after == nullptr ? event->before : event->after, ""};
    }
    return std::nullopt;
  }

  const std::shared_ptr<Impl> impl_;
  const std::string resource_, namespace_;
  const Selector selector_;
  const TimePoint ends_;
  // Under impl_->mutex.
  uint64_t era_ = 0;
  int64_t seen_ = 0;
  bool cancelled_ = false;
  std::deque<WatchEvent> initial_;
};

MemoryClient::MemoryClient() : impl_(std::make_shared<Impl>()) {}
MemoryClient::~MemoryClient() = default;

void MemoryClient::SetHook(std::function<absl::Status(const CallInfo&)> hook) {
  const std::lock_guard lock(impl_->mutex);
  impl_->hook = std::move(hook);
}

std::vector<std::string> MemoryClient::Writes() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->writes;
}

void MemoryClient::ClearWrites() {
  const std::lock_guard lock(impl_->mutex);
  impl_->writes.clear();
}

void MemoryClient::EndWatches(const absl::Status& status) {
  const std::lock_guard lock(impl_->mutex);
  ++impl_->watch_era;
  impl_->watch_end = status;
  impl_->changed.notify_all();
}

void MemoryClient::Compact() {
  const std::lock_guard lock(impl_->mutex);
  impl_->history.clear();
  impl_->compacted = impl_->version;
}

absl::StatusOr<ObjectPtr> MemoryClient::Get(const Resource& resource, std::string_view namespace_name,
                                            std::string_view name) {
  const CallInfo call{"get", resource, namespace_name, name, "", "", ""};
  PATELLA_RETURN_IF_ERROR(impl_->Ask(call));
  const std::lock_guard lock(impl_->mutex);
  PATELLA_ASSIGN_OR_RETURN(const Entry* entry, impl_->Find(call));
  return entry->shared;
}

absl::StatusOr<ListPage> MemoryClient::List(const Resource& resource, const ListOptions& options) {
  const CallInfo call{"list", resource, options.namespace_name, "", "", "", ""};
  PATELLA_RETURN_IF_ERROR(impl_->Ask(call));
  PATELLA_ASSIGN_OR_RETURN(const Selector selector, Selector::Parse(options.label_selector, options.field_selector));
  const std::lock_guard lock(impl_->mutex);
  ListPage page;
  page.resource_version = StrCat(impl_->version);
  const std::string kind = QualifiedName(resource);
  for (const auto& [key, entry] : impl_->entries) {
    const bool here =
        !resource.namespaced || options.namespace_name.empty() || key.key.namespace_name == options.namespace_name;
    if (key.resource == kind && here && selector.Matches(*entry.shared)) page.items.push_back(entry.shared);
  }
  return page;
}

std::unique_ptr<WatchStream> MemoryClient::Watch(const Resource& resource, const WatchOptions& options) {
  class Failed final : public WatchStream {
   public:
    explicit Failed(absl::Status status) : status_(std::move(status)) {}
    absl::StatusOr<WatchEvent> Next(Duration) override { return status_; }
    void Cancel() override {}

   private:
    const absl::Status status_;
  };
  const CallInfo call{"watch", resource, options.namespace_name, "", "", "", ""};
  if (const absl::Status asked = impl_->Ask(call); !asked.ok()) return std::make_unique<Failed>(asked);
  absl::StatusOr<Selector> selector = Selector::Parse(options.label_selector, options.field_selector);
  if (!selector.ok()) return std::make_unique<Failed>(selector.status());
  return std::make_unique<Impl::Watcher>(impl_, resource, options, *std::move(selector));
}

absl::StatusOr<ObjectPtr> MemoryClient::Create(const Resource& resource, std::string_view namespace_name,
                                               std::string_view body, const WriteOptions& options) {
  const CallInfo call{"create", resource, namespace_name, "", "", body, options.manager};
  PATELLA_ASSIGN_OR_RETURN(json object, ParseBody(call));
  const std::string name = TextAt(object["metadata"], "name");
  PATELLA_RETURN_IF_ERROR(impl_->Ask({"create", resource, namespace_name, name, "", body, options.manager}));
  const std::lock_guard lock(impl_->mutex);
  return impl_->Insert(call, std::move(object), {});
}

absl::StatusOr<ObjectPtr> MemoryClient::Update(const Resource& resource, std::string_view namespace_name,
                                               std::string_view name, std::string_view body,
                                               const WriteOptions& options) {
  const CallInfo call{"update", resource, namespace_name, name, options.subresource, body, options.manager};
  PATELLA_RETURN_IF_ERROR(impl_->Ask(call));
  PATELLA_ASSIGN_OR_RETURN(json object, ParseBody(call));
  const std::lock_guard lock(impl_->mutex);
  PATELLA_ASSIGN_OR_RETURN(Entry * entry, impl_->Find(call));
  PATELLA_RETURN_IF_ERROR(impl_->CheckPreconditions(call, *entry, TextAt(object["metadata"], "uid"),
                                                    TextAt(object["metadata"], "resourceVersion")));
  return impl_->Replace(call, *entry, std::move(object));
}

absl::StatusOr<ObjectPtr> MemoryClient::Apply(const Resource& resource, std::string_view namespace_name,
                                              std::string_view name, std::string_view body,
                                              const ApplyOptions& options) {
  const CallInfo call{"apply", resource, namespace_name, name, options.subresource, body, options.manager};
  if (options.manager.empty()) return absl::InvalidArgumentError("server-side apply needs a field manager");
  PATELLA_RETURN_IF_ERROR(impl_->Ask(call));
  PATELLA_ASSIGN_OR_RETURN(json intent, ParseBody(call));
  const std::string uid = TextAt(intent["metadata"], "uid"), version = TextAt(intent["metadata"], "resourceVersion");
  for (const char* not_wanted : {"name", "namespace", "uid", "resourceVersion", "creationTimestamp", "managedFields"})
    intent["metadata"].erase(not_wanted);
  for (const char* not_wanted : {"apiVersion", "kind"}) intent.erase(not_wanted);
  if (intent["metadata"].empty()) intent.erase("metadata");
  if (options.subresource != "status") intent.erase("status");

  const std::lock_guard lock(impl_->mutex);
  const absl::StatusOr<Entry*> found = impl_->Find(call);
  const std::string manager = StrCat(options.manager, options.subresource.empty() ? "" : "/", options.subresource);
  if (!found.ok()) {
    if (!options.subresource.empty() || !version.empty()) return found.status();
    json object = intent;
    object["metadata"]["name"] = std::string(name);
    return impl_->Insert(call, std::move(object), {{manager, std::move(intent)}});
  }
  Entry& entry = **found;
  PATELLA_RETURN_IF_ERROR(impl_->CheckPreconditions(call, entry, uid, version));
  json object = entry.object;
  const std::vector<FieldConflict> conflicts =
      ApplyIntent(impl_->list_keys, manager, intent, options.force, entry.intents, object);
  if (conflicts.empty()) return impl_->Replace(call, entry, std::move(object));
  std::vector<ApiErrorCause> causes;
  std::string message = StrCat("Apply failed with ", conflicts.size(), " conflict(s):");
  for (const FieldConflict& c : conflicts) {
    causes.push_back({"FieldManagerConflict", StrCat("conflict with \"", c.manager, "\""), ToString(c.path)});
    StrAppend(&message, " ", causes.back().message, ": ", causes.back().field);
  }
  return Refused(call, 409, "Conflict", std::move(message), std::move(causes));
}

absl::StatusOr<ObjectPtr> MemoryClient::MergePatch(const Resource& resource, std::string_view namespace_name,
                                                   std::string_view name, std::string_view body,
                                                   const WriteOptions& options) {
  const CallInfo call{"patch", resource, namespace_name, name, options.subresource, body, options.manager};
  PATELLA_RETURN_IF_ERROR(impl_->Ask(call));
  PATELLA_ASSIGN_OR_RETURN(const json patch, ParseBody(call));
  const std::lock_guard lock(impl_->mutex);
  PATELLA_ASSIGN_OR_RETURN(Entry * entry, impl_->Find(call));
  const json& metadata = patch["metadata"];
  PATELLA_RETURN_IF_ERROR(
      impl_->CheckPreconditions(call, *entry, TextAt(metadata, "uid"), TextAt(metadata, "resourceVersion")));
  json object = entry->object;
  object.merge_patch(patch);
  return impl_->Replace(call, *entry, std::move(object));
}

absl::Status MemoryClient::Delete(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                  const DeleteOptions& options) {
  const CallInfo call{"delete", resource, namespace_name, name, "", "", ""};
  PATELLA_RETURN_IF_ERROR(impl_->Ask(call));
  const std::lock_guard lock(impl_->mutex);
  PATELLA_ASSIGN_OR_RETURN(Entry * entry, impl_->Find(call));
  PATELLA_RETURN_IF_ERROR(impl_->CheckPreconditions(call, *entry, options.uid, options.resource_version));
  if (!HasFinalizers(entry->object)) {
    impl_->Remove({QualifiedName(resource), entry->shared->key()}, options.propagation);
    return absl::OkStatus();
  }
  if (entry->shared->deleting()) return absl::OkStatus();
  const ObjectPtr before = entry->shared;
  entry->object["metadata"]["deletionTimestamp"] = Rfc3339(std::chrono::system_clock::now());
  impl_->Share(*entry);
  impl_->Tell(QualifiedName(resource), before, entry->shared);
  return absl::OkStatus();
}

namespace {

Scale ScaleOf(const json& object) {
  const json none = json::object();
  const auto part = [&](const char* name) -> const json& {
    const auto found = object.find(name);
    return found != object.end() && found->is_object() ? *found : none;
  };
  return {.replicas = part("spec").value("replicas", 0),
          .status_replicas = part("status").value("replicas", 0),
          .selector = part("status").value("selector", ""),
          .resource_version = TextAt(part("metadata"), "resourceVersion")};
}

}  // namespace

absl::StatusOr<Scale> MemoryClient::GetScale(const Resource& resource, std::string_view namespace_name,
                                             std::string_view name) {
  const CallInfo call{"get", resource, namespace_name, name, "scale", "", ""};
  PATELLA_RETURN_IF_ERROR(impl_->Ask(call));
  const std::lock_guard lock(impl_->mutex);
  PATELLA_ASSIGN_OR_RETURN(const Entry* entry, impl_->Find(call));
  return ScaleOf(entry->object);
}

absl::StatusOr<Scale> MemoryClient::SetScale(const Resource& resource, std::string_view namespace_name,
                                             std::string_view name, int replicas, std::string_view resource_version,
                                             const WriteOptions& options) {
  const std::string body = json({{"spec", {{"replicas", replicas}}}}).dump();
  const CallInfo call{"patch", resource, namespace_name, name, "scale", body, options.manager};
  PATELLA_RETURN_IF_ERROR(impl_->Ask(call));
  const std::lock_guard lock(impl_->mutex);
  PATELLA_ASSIGN_OR_RETURN(Entry * entry, impl_->Find(call));
  PATELLA_RETURN_IF_ERROR(impl_->CheckPreconditions(call, *entry, "", std::string(resource_version)));
  json object = entry->object;
  object["spec"]["replicas"] = replicas;
  PATELLA_RETURN_IF_ERROR(impl_->Replace(call, *entry, std::move(object)).status());
  return ScaleOf(entry->object);
}

}  // namespace patella::kube
