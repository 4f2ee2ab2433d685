#include "lib/kube/rest_client.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::kube {
namespace {

using nlohmann::json;
using Query = std::vector<std::pair<std::string_view, std::string>>;

// "path?a=b&c=d" without the parameters that are empty.
std::string WithQuery(std::string path, const Query& query) {
  char separator = '?';
  for (const auto& [name, value] : query) {
    if (value.empty()) continue;
    StrAppend(&path, separator, name, "=", PercentEncode(value));
    separator = '&';
  }
  return path;
}

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kApplyPatch = "application/apply-patch+yaml";
constexpr std::string_view kMergePatch = "application/merge-patch+json";

absl::StatusOr<Scale> ParseScale(const std::string& body) {
  const json parsed = json::parse(body, nullptr, false);
  if (!parsed.is_object()) return absl::InternalError("the API server's Scale is no JSON object");
  Scale scale;
  try {
    scale.replicas = parsed.value("/spec/replicas"_json_pointer, 0);
    scale.status_replicas = parsed.value("/status/replicas"_json_pointer, 0);
    scale.selector = parsed.value("/status/selector"_json_pointer, "");
    scale.resource_version = parsed.value("/metadata/resourceVersion"_json_pointer, "");
  } catch (const json::exception& error) {
    return absl::InternalError(StrCat("the API server's Scale cannot be read: ", error.what()));
  }
  return scale;
}

// Longer than the server keeps the watch, so that only a dead connection is found by it.
constexpr Duration kWatchMargin = std::chrono::seconds(15);
// What may wait for the reader of a watch before the connection is left to TCP's flow control.
constexpr size_t kMaxWaitingBytes = size_t{1} << 20;

}  // namespace

struct RestClient::Impl {
  HttpTransport* transport;
  std::shared_ptr<Credentials> credentials;
  const Clock& clock;
  RestClientOptions options;
  std::string host;

  std::mutex mutex;
  std::condition_variable changed;
  int in_progress = 0;
  bool closed = false;
  std::map<std::pair<std::string, std::string>, metrics::Counter> requests;  // by code and method

  struct Request {
    RequestInfo info;
    std::string method, path, body;
    std::string_view content_type = kJson;
    bool writes() const { return method != "GET"; }
  };

  void Count(const std::string& code, const std::string& method) {
    if (options.metrics == nullptr) return;
    const std::lock_guard lock(mutex);
    auto found = requests.find({code, method});
    if (found == requests.end()) {
      const metrics::Counter counter = options.metrics->GetCounter(
          "rest_client_requests_total", {{"code", code}, {"method", method}, {"host", host}});
      found = requests.emplace(std::pair(code, method), counter).first;
    }
    found->second.Add();
  }

  absl::Status Closed() const { return absl::CancelledError("the Kubernetes client was closed"); }

  // Waits until a call may begin; false once closed.
  bool Enter() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return closed || in_progress < options.max_concurrent_calls; });
    if (closed) return false;
    ++in_progress;
    return true;
  }
  void Leave() {
    const std::lock_guard lock(mutex);
    --in_progress;
    changed.notify_all();
  }
  bool Pause(Duration duration) {  // false once closed
    std::unique_lock lock(mutex);
    return !changed.wait_for(lock, duration, [&] { return closed; });
  }

  Headers HeadersFor(const std::string& authorization, std::string_view content_type) const {
    Headers headers = {{"Accept", std::string(kJson)}, {"User-Agent", options.user_agent}};
    if (!authorization.empty()) headers.emplace_back("Authorization", authorization);
    if (!content_type.empty()) headers.emplace_back("Content-Type", content_type);
    return headers;
  }

  absl::StatusOr<HttpResponse> Attempt(const Request& request, TimePoint began, Duration timeout) {
    if (!Enter()) return Closed();
    struct Leaver {
      Impl& impl;
      ~Leaver() { impl.Leave(); }
    } leaver{*this};
    PATELLA_ASSIGN_OR_RETURN(const std::string authorization, credentials->Authorization());
    // The last moment: waiting for a place or a token may have taken long.
    if (request.writes() && options.may_write && !options.may_write()) {
      return absl::FailedPreconditionError(StrCat("not sent: ", request.info.verb, " ", request.info.resource, " ",
                                                  request.info.name, ": this process is not the leader any more"));
    }
    const HttpRequest http{request.method, request.path,
                           HeadersFor(authorization, request.body.empty() ? "" : request.content_type), request.body};
    absl::StatusOr<HttpResponse> response = transport->Call(http, timeout);
    Count(response.ok() ? StrCat(response->status) : "<error>", request.method);
    if (response.ok() && response->status == 401) credentials->Rejected(began);
    return response;
  }

  absl::StatusOr<std::string> Execute(Request request) {
    request.info.source = credentials->access().source;
    const TimePoint deadline = clock.Now() + options.total_timeout;
    bool renewed = false, reconnected = false;
    for (int attempt = 0;; ++attempt) {
      const TimePoint began = clock.Now();
      const Duration left = deadline - began;
      if (left <= Duration::zero()) {
        return ConnectionError(
            ConnectionFailure::kTimeout,
            StrCat(request.method, " ", request.path, ": gave up after ", Seconds(options.total_timeout), " s"));
      }
      const absl::StatusOr<HttpResponse> response = Attempt(request, began, std::min(left, options.call_timeout));
      if (!response.ok()) {
        const ConnectionFailure failure = ConnectionFailureOf(response.status());
        // Reading again does no harm; after a failed handshake it is with certificates that were read again.
        const bool may_reconnect = failure == ConnectionFailure::kDropped || failure == ConnectionFailure::kTls;
        if (!may_reconnect || request.writes() || reconnected) return response.status();
        reconnected = true;
        continue;
      }
      if (response->status >= 200 && response->status < 300) return response->body;
      if (response->status == 401 && !renewed) {
        renewed = true;
        continue;
      }
      const ApiError error =
          ParseApiError(response->status, response->body, FindHeader(response->headers, "Retry-After"));
      absl::Status status = ToStatus(error, request.info);
      const bool may_repeat = (response->status == 429 || response->status >= 500) &&
                              !FindHeader(response->headers, "Retry-After").empty() &&
                              !IsTooLargeResourceVersion(status) && attempt < options.max_retries;
      if (!may_repeat) return status;
      const Duration pause = std::chrono::seconds(error.retry_after_seconds.value_or(1));
      if (clock.Now() + pause >= deadline) return status;
      if (!Pause(pause)) return Closed();
    }
  }

  Request MakeRequest(std::string_view verb, std::string_view method, const Resource& resource,
                      std::string_view namespace_name, std::string_view name, std::string_view subresource,
                      const Query& query = {}, std::string_view body = "") const {
    Request request;
    request.info = {.verb = std::string(verb),
                    .resource = QualifiedName(resource),
                    .subresource = std::string(subresource),
                    .namespace_name = resource.namespaced ? std::string(namespace_name) : "",
                    .name = std::string(name),
                    .source = ""};
    request.method = method;
    request.path = WithQuery(ResourcePath(resource, namespace_name, name, subresource), query);
    request.body = body;
    return request;
  }

  absl::StatusOr<ObjectPtr> ExecuteForObject(Request request, const Resource& resource) {
    PATELLA_ASSIGN_OR_RETURN(const std::string body, Execute(std::move(request)));
    return Object::Parse(body, &resource);
  }

  std::string Manager(const std::string& manager) const { return manager.empty() ? options.field_manager : manager; }
};

namespace {

// What the io thread leaves for the reader of a watch.
struct Waiting {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::string> lines;
  size_t bytes = 0;
  bool paused = false;
  bool cancelled = false;
  std::optional<StreamEnd> end;
};

class RestWatch final : public WatchStream {
 public:
  using Open = std::function<std::unique_ptr<HttpStream>(StreamCallbacks)>;
  using OnRefused = std::function<bool(int http_status)>;  // true: open once more

  RestWatch(Open open, RequestInfo info, OnRefused on_refused)
      : open_(std::move(open)), info_(std::move(info)), on_refused_(std::move(on_refused)) {
    Begin();
  }
  ~RestWatch() override { Cancel(); }

  absl::StatusOr<WatchEvent> Next(Duration wait) override {
    const TimePoint until = std::chrono::steady_clock::now() + wait;
    while (true) {
      std::unique_lock lock(waiting_->mutex);
      waiting_->changed.wait_until(lock, until,
                                   [&] { return !waiting_->lines.empty() || waiting_->end || waiting_->cancelled; });
      if (waiting_->cancelled) return absl::CancelledError("the watch was cancelled");
      if (!waiting_->lines.empty()) return TakeLine(lock);
      if (!waiting_->end) return WatchEvent{};
      const StreamEnd end = *waiting_->end;
      lock.unlock();
      if (end.status.ok() && end.error.status != 200 && on_refused_(end.error.status)) {
        Begin();
        continue;
      }
      return End(end);
    }
  }

  void Cancel() override {
    const std::lock_guard opened(opened_mutex_);
    cancelled_ = true;
    {
      const std::lock_guard lock(waiting_->mutex);
      waiting_->cancelled = true;
      waiting_->changed.notify_all();
    }
    if (stream_ != nullptr) stream_->Cancel();
  }

 private:
  void Begin() {
    const auto waiting = std::make_shared<Waiting>();
    {
      const std::lock_guard opened(opened_mutex_);
      waiting->cancelled = cancelled_;
      waiting_ = waiting;
    }
    StreamCallbacks callbacks;
    callbacks.on_line = [waiting](std::string_view line) {
      const std::lock_guard lock(waiting->mutex);
      waiting->lines.emplace_back(line);
      waiting->bytes += line.size();
      waiting->changed.notify_all();
      waiting->paused = waiting->bytes > kMaxWaitingBytes;
      return !waiting->paused;
    };
    callbacks.on_end = [waiting](StreamEnd end) {
      const std::lock_guard lock(waiting->mutex);
      waiting->end = std::move(end);
      waiting->changed.notify_all();
    };
    std::unique_ptr<HttpStream> stream = open_(std::move(callbacks));
    const std::lock_guard opened(opened_mutex_);
    stream_.swap(stream);
    if (cancelled_) stream_->Cancel();
  }

  absl::StatusOr<WatchEvent> TakeLine(std::unique_lock<std::mutex>& lock) {
    const std::string line = std::move(waiting_->lines.front());
    waiting_->lines.pop_front();
    waiting_->bytes -= line.size();
    const bool resume = waiting_->paused && waiting_->bytes < kMaxWaitingBytes / 2;
    if (resume) waiting_->paused = false;
    lock.unlock();
    if (resume) stream_->Resume();
    PATELLA_ASSIGN_OR_RETURN(WatchEvent event, ParseWatchEvent(line));
    if (event.type == WatchEventType::kError) return ToStatus(ParseApiError(200, event.error_json), info_);
    return event;
  }

  absl::StatusOr<WatchEvent> End(const StreamEnd& end) const {
    if (!end.status.ok()) return end.status;
    if (end.error.status == 200) return WatchEvent{.type = WatchEventType::kEnd, .object = nullptr, .error_json = ""};
    return ToStatus(ParseApiError(end.error.status, end.error.body, FindHeader(end.error.headers, "Retry-After")),
                    info_);
  }

  Open open_;
  RequestInfo info_;
  OnRefused on_refused_;
  // Cancel comes from any thread; the reader's alone, which needs no lock to read them, replaces both pointers.
  std::mutex opened_mutex_;
  bool cancelled_ = false;
  std::shared_ptr<Waiting> waiting_;
  std::unique_ptr<HttpStream> stream_;
};

// Of a request that was not sent.
class NoStream final : public HttpStream {
 public:
  void Cancel() override {}
  void Resume() override {}
};

class FailedWatch final : public WatchStream {
 public:
  explicit FailedWatch(absl::Status status) : status_(std::move(status)) {}
  absl::StatusOr<WatchEvent> Next(Duration) override { return status_; }
  void Cancel() override {}

 private:
  absl::Status status_;
};

}  // namespace

RestClient::RestClient(HttpTransport* transport, std::shared_ptr<Credentials> credentials, const Clock& clock,
                       RestClientOptions options) {
  std::string host = credentials->access().server;
  host = host.substr(host.find("//") + 2);
  host = host.substr(0, host.find('/'));
  impl_.reset(
      new Impl{transport, std::move(credentials), clock, std::move(options), std::move(host), {}, {}, 0, false, {}});
}

RestClient::~RestClient() { Close(); }

void RestClient::Close() {
  {
    const std::lock_guard lock(impl_->mutex);
    if (std::exchange(impl_->closed, true)) return;
    impl_->changed.notify_all();
  }
  impl_->transport->EndCalls();
}

absl::StatusOr<ObjectPtr> RestClient::Get(const Resource& resource, std::string_view namespace_name,
                                          std::string_view name) {
  return impl_->ExecuteForObject(impl_->MakeRequest("get", "GET", resource, namespace_name, name, ""), resource);
}

absl::StatusOr<ListPage> RestClient::List(const Resource& resource, const ListOptions& options) {
  // Without a match rule, a limit together with a version would mean exactly that version.
  const bool at_version = !options.resource_version.empty() && options.continue_token.empty();
  const Query query = {{"continue", options.continue_token},
                       {"fieldSelector", options.field_selector},
                       {"labelSelector", options.label_selector},
                       {"limit", options.limit > 0 ? StrCat(options.limit) : ""},
                       {"resourceVersion", at_version ? options.resource_version : ""},
                       {"resourceVersionMatch", at_version ? "NotOlderThan" : ""}};
  PATELLA_ASSIGN_OR_RETURN(
      const std::string body,
      impl_->Execute(impl_->MakeRequest("list", "GET", resource, options.namespace_name, "", "", query)));
  return ParseList(body, resource);
}

std::unique_ptr<WatchStream> RestClient::Watch(const Resource& resource, const WatchOptions& options) {
  const int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(options.timeout).count();
  const Query query = {{"allowWatchBookmarks", "true"},
                       {"fieldSelector", options.field_selector},
                       {"labelSelector", options.label_selector},
                       {"resourceVersion", options.resource_version},
                       {"resourceVersionMatch", options.send_initial_events ? "NotOlderThan" : ""},
                       {"sendInitialEvents", options.send_initial_events ? "true" : ""},
                       {"timeoutSeconds", StrCat(seconds)},
                       {"watch", "1"}};
  Impl::Request request = impl_->MakeRequest("watch", "GET", resource, options.namespace_name, "", "", query);
  request.info.source = impl_->credentials->access().source;
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->closed) return std::make_unique<FailedWatch>(impl_->Closed());
  }
  const auto began = std::make_shared<TimePoint>();
  const auto open = [impl = impl_, path = request.path, idle = options.timeout + kWatchMargin,
                     began](StreamCallbacks callbacks) -> std::unique_ptr<HttpStream> {
    *began = impl->clock.Now();
    const absl::StatusOr<std::string> authorization = impl->credentials->Authorization();
    if (!authorization.ok()) {
      callbacks.on_end({authorization.status(), {}});
      return std::make_unique<NoStream>();
    }
    const HttpRequest http{"GET", path, impl->HeadersFor(*authorization, ""), ""};
    const auto on_end = std::move(callbacks.on_end);
    callbacks.on_end = [impl, on_end](StreamEnd end) {
      impl->Count(end.status.ok() || end.error.status != 0 ? StrCat(end.error.status) : "<error>", "GET");
      on_end(std::move(end));
    };
    return impl->transport->Stream(http, idle, std::move(callbacks));
  };
  const auto renewed = std::make_shared<bool>(false);
  const auto on_refused = [impl = impl_, renewed, began](int http_status) {
    if (http_status != 401) return false;
    impl->credentials->Rejected(*began);
    return !std::exchange(*renewed, true);
  };
  return std::make_unique<RestWatch>(open, request.info, on_refused);
}

absl::StatusOr<ObjectPtr> RestClient::Create(const Resource& resource, std::string_view namespace_name,
                                             std::string_view body, const WriteOptions& options) {
  Impl::Request request = impl_->MakeRequest("create", "POST", resource, namespace_name, "", "",
                                             {{"fieldManager", impl_->Manager(options.manager)}}, body);
  return impl_->ExecuteForObject(std::move(request), resource);
}

absl::StatusOr<ObjectPtr> RestClient::Update(const Resource& resource, std::string_view namespace_name,
                                             std::string_view name, std::string_view body,
                                             const WriteOptions& options) {
  Impl::Request request = impl_->MakeRequest("update", "PUT", resource, namespace_name, name, options.subresource,
                                             {{"fieldManager", impl_->Manager(options.manager)}}, body);
  return impl_->ExecuteForObject(std::move(request), resource);
}

absl::StatusOr<ObjectPtr> RestClient::Apply(const Resource& resource, std::string_view namespace_name,
                                            std::string_view name, std::string_view body, const ApplyOptions& options) {
  if (options.manager.empty()) return absl::InvalidArgumentError("server-side apply needs a field manager");
  Impl::Request request =
      impl_->MakeRequest("apply", "PATCH", resource, namespace_name, name, options.subresource,
                         {{"fieldManager", options.manager}, {"force", options.force ? "true" : ""}}, body);
  request.content_type = kApplyPatch;
  return impl_->ExecuteForObject(std::move(request), resource);
}

absl::StatusOr<ObjectPtr> RestClient::MergePatch(const Resource& resource, std::string_view namespace_name,
                                                 std::string_view name, std::string_view body,
                                                 const WriteOptions& options) {
  Impl::Request request = impl_->MakeRequest("patch", "PATCH", resource, namespace_name, name, options.subresource,
                                             {{"fieldManager", impl_->Manager(options.manager)}}, body);
  request.content_type = kMergePatch;
  return impl_->ExecuteForObject(std::move(request), resource);
}

absl::Status RestClient::Delete(const Resource& resource, std::string_view namespace_name, std::string_view name,
                                const DeleteOptions& options) {
  static constexpr std::string_view kPolicies[] = {"Background", "Foreground", "Orphan"};
  json body = {{"apiVersion", "v1"},
               {"kind", "DeleteOptions"},
               {"propagationPolicy", kPolicies[static_cast<size_t>(options.propagation)]}};
  if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
  if (!options.resource_version.empty()) body["preconditions"]["resourceVersion"] = options.resource_version;
  if (options.grace_seconds) body["gracePeriodSeconds"] = *options.grace_seconds;
  return impl_->Execute(impl_->MakeRequest("delete", "DELETE", resource, namespace_name, name, "", {}, body.dump()))
      .status();
}

absl::StatusOr<Scale> RestClient::GetScale(const Resource& resource, std::string_view namespace_name,
                                           std::string_view name) {
  PATELLA_ASSIGN_OR_RETURN(const std::string body,
                           impl_->Execute(impl_->MakeRequest("get", "GET", resource, namespace_name, name, "scale")));
  return ParseScale(body);
}

absl::StatusOr<Scale> RestClient::SetScale(const Resource& resource, std::string_view namespace_name,
                                           std::string_view name, int replicas, std::string_view resource_version,
                                           const WriteOptions& options) {
  json body = {{"spec", {{"replicas", replicas}}}};
  if (!resource_version.empty()) body["metadata"]["resourceVersion"] = std::string(resource_version);
  Impl::Request request = impl_->MakeRequest("patch", "PATCH", resource, namespace_name, name, "scale",
                                             {{"fieldManager", impl_->Manager(options.manager)}}, body.dump());
  request.content_type = kMergePatch;
  PATELLA_ASSIGN_OR_RETURN(const std::string answer, impl_->Execute(std::move(request)));
  return ParseScale(answer);
}

absl::StatusOr<std::string> RestClient::Raw(const std::string& method, const std::string& path,
                                            const std::string& body) {
  Impl::Request request;
  request.info.verb = ToLower(method);
  request.info.resource = path;
  request.method = method;
  request.path = path;
  request.body = body;
  return impl_->Execute(std::move(request));
}

absl::StatusOr<Connection> Connect(std::string_view kubeconfig, const Clock& clock, RestClientOptions options) {
  InitTransport();
  Connection connection;
  PATELLA_ASSIGN_OR_RETURN(ClusterAccess access, LoadAccess(kubeconfig));
  PATELLA_ASSIGN_OR_RETURN(connection.credentials, Credentials::Load(std::move(access), clock));
  PATELLA_ASSIGN_OR_RETURN(connection.transport, MakeTransport(connection.credentials));
  connection.client =
      std::make_unique<RestClient>(connection.transport.get(), connection.credentials, clock, std::move(options));
  return connection;
}

}  // namespace patella::kube
