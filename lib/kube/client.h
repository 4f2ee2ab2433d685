// The Kubernetes API as blocking calls. Two implementations: RestClient (rest_client.h) against an API server, and
// MemoryClient (memory_client.h) in this process.
//
// Bodies are JSON texts. Objects come back as the server stored them. Errors as in api_error.h. Thread-safe; calls
// block, so they must not be made on the transport's io thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/clock.h"
#include "lib/kube/api_error.h"
#include "lib/kube/object.h"

namespace patella::kube {

struct ListOptions {
  std::string namespace_name;  // "": all namespaces
  std::string label_selector;  // "a=b,c!=d,e in (f,g),h,!i"
  std::string field_selector;  // "metadata.name=x"
  int limit = 500;             // objects a page; 0: no limit
  std::string continue_token;
  std::string resource_version;  // "": the newest; "0": whatever the server has at hand; "N": not older than N
};

struct WatchOptions {
  std::string namespace_name;
  std::string label_selector;
  std::string field_selector;
  std::string resource_version;      // events after this one; with send_initial_events: not older than this one
  bool send_initial_events = false;  // the state as ADDED events, then a bookmark with initial_events_end()
  Duration timeout = std::chrono::minutes(5);  // after which the server ends the watch
};

struct WriteOptions {
  std::string manager;      // field manager; "": the client's own
  std::string subresource;  // "status"
};

struct ApplyOptions {
  std::string manager;      // required
  bool force = false;       // take over fields that others own
  std::string subresource;  // "status"
};

enum class Propagation { kBackground, kForeground, kOrphan };
struct DeleteOptions {
  std::string uid;               // precondition: only this incarnation; Conflict otherwise
  std::string resource_version;  // precondition
  Propagation propagation = Propagation::kBackground;
  std::optional<int> grace_seconds;
};

// autoscaling/v1 Scale.
struct Scale {
  int replicas = 0;         // spec.replicas, what is wanted
  int status_replicas = 0;  // status.replicas, what is there
  std::string selector;     // status.selector
  std::string resource_version;
};

// A watch in progress. Next is for one thread; Cancel for any. Destroying it cancels.
class WatchStream {
 public:
  virtual ~WatchStream() = default;
  // The next event; kNothingYet after `wait`; kEnd once the server has ended the stream in good order. Error: the
  // stream failed, or the server sent an ERROR event (IsExpired tells 410 in both shapes); Cancelled after Cancel.
  // After kEnd or an error nothing more comes.
  virtual absl::StatusOr<WatchEvent> Next(Duration wait) = 0;
  virtual void Cancel() = 0;
};

class Client {
 public:
  virtual ~Client() = default;

  virtual absl::StatusOr<ObjectPtr> Get(const Resource& resource, std::string_view namespace_name,
                                        std::string_view name) = 0;

  // One page.
  virtual absl::StatusOr<ListPage> List(const Resource& resource, const ListOptions& options) = 0;

  // The events as they come. Returns at once; that the watch was refused is told by Next.
  virtual std::unique_ptr<WatchStream> Watch(const Resource& resource, const WatchOptions& options) = 0;

  virtual absl::StatusOr<ObjectPtr> Create(const Resource& resource, std::string_view namespace_name,
                                           std::string_view body, const WriteOptions& options = {}) = 0;

  // Replaces the object; a resourceVersion in the body must be the current one, else Conflict.
  virtual absl::StatusOr<ObjectPtr> Update(const Resource& resource, std::string_view namespace_name,
                                           std::string_view name, std::string_view body,
                                           const WriteOptions& options = {}) = 0;

  // Server-side apply: `body` is all that this manager wants (with apiVersion, kind and metadata.name). Creates what is
  // missing. Conflict lists the fields and their managers.
  virtual absl::StatusOr<ObjectPtr> Apply(const Resource& resource, std::string_view namespace_name,
                                          std::string_view name, std::string_view body,
                                          const ApplyOptions& options) = 0;

  // RFC 7386.
  virtual absl::StatusOr<ObjectPtr> MergePatch(const Resource& resource, std::string_view namespace_name,
                                               std::string_view name, std::string_view body,
                                               const WriteOptions& options = {}) = 0;

  // OK also if the server only began to delete (finalizers, grace). NotFound if it is not there.
  virtual absl::Status Delete(const Resource& resource, std::string_view namespace_name, std::string_view name,
                              const DeleteOptions& options = {}) = 0;

  virtual absl::StatusOr<Scale> GetScale(const Resource& resource, std::string_view namespace_name,
                                         std::string_view name) = 0;
  // Conflict if `resource_version` is given and old.
  virtual absl::StatusOr<Scale> SetScale(const Resource& resource, std::string_view namespace_name,
                                         std::string_view name, int replicas, std::string_view resource_version = "",
                                         const WriteOptions& options = {}) = 0;
};

// All pages as one list of one moment; if the continue token expires on the way, once more as one unlimited page.
absl::StatusOr<ListPage> ListAll(Client& client, const Resource& resource, ListOptions options);

}  // namespace patella::kube
