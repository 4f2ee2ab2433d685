#include "lib/kube/api_error.h"

#include <nlohmann/json.hpp>

#include "absl/strings/cord.h"
#include "lib/base/text.h"

namespace patella::kube {
namespace {

using nlohmann::json;

constexpr char kApiErrorUrl[] = "patella.dev/kube.ApiError";
constexpr char kConnectionUrl[] = "patella.dev/kube.ConnectionFailure";

absl::StatusCode CodeOf(const ApiError& error) {
  switch (error.http_code) {
    case 400:
    case 406:
    case 413:
    case 415:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 405:
    case 501:
      return absl::StatusCode::kUnimplemented;
    case 409:
      return error.reason == "AlreadyExists" ? absl::StatusCode::kAlreadyExists : absl::StatusCode::kAborted;
    case 410:
      return absl::StatusCode::kOutOfRange;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    case 502:
    case 503:
      return absl::StatusCode::kUnavailable;
    case 504:
      return absl::StatusCode::kDeadlineExceeded;
    default:
      return error.http_code >= 500 ? absl::StatusCode::kInternal : absl::StatusCode::kUnknown;
  }
}

std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string ObjectName(const RequestInfo& request) {
  std::string text = request.resource;
  if (!request.subresource.empty()) StrAppend(&text, "/", request.subresource);
  if (!request.name.empty()) StrAppend(&text, " '", request.name, "'");
  if (!request.namespace_name.empty()) StrAppend(&text, " in namespace '", request.namespace_name, "'");
  return text;
}

// "User "system:serviceaccount:ns:name" cannot …" -> ns/name.
std::string ServiceAccountIn(std::string_view message) {
  constexpr std::string_view kPrefix = "system:serviceaccount:";
  const size_t at = message.find(kPrefix);
  if (at == std::string_view::npos) return "";
  std::string_view rest = message.substr(at + kPrefix.size());
  rest = rest.substr(0, rest.find('"'));
  const size_t colon = rest.find(':');
  if (colon == std::string_view::npos) return "";
  return StrCat(rest.substr(0, colon), "/", rest.substr(colon + 1));
}

std::string Remedy(const ApiError& error, const RequestInfo& request) {
  switch (error.http_code) {
    case 401:
      return StrCat(
          "the credentials of ", request.source.empty() ? "this client" : request.source,
          " are expired or unknown to this API server: renew the token or certificate, and compare the clocks of "
          "both machines");
    case 403: {
      if (error.message.find("because it is being terminated") != std::string::npos) {
        return "the namespace is being deleted: nothing can be created in it";
      }
      const std::string account = ServiceAccountIn(error.message);
      const std::string who = account.empty() ? "this user" : StrCat("ServiceAccount ", account);
      const std::string verb = request.verb == "apply" ? "patch (and create)" : request.verb;
      const std::string what =
          request.subresource.empty() ? request.resource : StrCat(request.resource, "/", request.subresource);
      return StrCat("give ", who, " a Role or ClusterRole with verb ", verb, " on ", what);
    }
    case 404:
      if (request.name.empty() || error.message.find("could not find the requested resource") != std::string::npos) {
        return StrCat("this API server does not know ", request.resource,
                      ": install its CustomResourceDefinition (deploy/crds), or check the API version");
      }
      return "";
    case 409: {
      if (error.reason == "AlreadyExists") return "";
      std::string fields;
      for (const ApiErrorCause& cause : error.causes) {
        StrAppend(&fields, fields.empty() ? "" : "; ", cause.field, ": ", cause.message);
      }
      return fields.empty() ? "read the object again and repeat the change"
                            : StrCat("fields owned by others (force takes them over): ", fields);
    }
    case 410:
      return "that resource version or continue token is too old: list again";
    case 429:
      return "the API server is busy or limits this client: repeat later";
    default:
      return "";
  }
}

}  // namespace

ApiError ParseApiError(int http_code, std::string_view body, std::string_view retry_after_header) {
  ApiError error;
  error.http_code = http_code;
  int64_t seconds = 0;
  if (ParseInt(Strip(retry_after_header), &seconds) && seconds >= 0) {
    error.retry_after_seconds = static_cast<int>(std::min<int64_t>(seconds, 3600));
  }
  const json status = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (!status.is_object() || Text(status, "kind") != "Status") {
    constexpr size_t kShown = 300;
    error.message = std::string(Strip(body.substr(0, kShown)));
    return error;
  }
  error.reason = Text(status, "reason");
  error.message = Text(status, "message");
  if (const auto code = status.find("code"); code != status.end() && code->is_number_integer() && http_code == 200) {
    error.http_code = code->get<int>();  // the ERROR event of a watch
  }
  const auto details = status.find("details");
  if (details == status.end() || !details->is_object()) return error;
  const auto retry = details->find("retryAfterSeconds");
  if (retry != details->end() && retry->is_number_integer() && !error.retry_after_seconds) {
    error.retry_after_seconds = std::clamp(retry->get<int>(), 0, 3600);
  }
  const auto causes = details->find("causes");
  if (causes == details->end() || !causes->is_array()) return error;
  for (const json& cause : *causes) {
    if (cause.is_object())
      error.causes.push_back({Text(cause, "reason"), Text(cause, "message"), Text(cause, "field")});
  }
  return error;
}

absl::Status ToStatus(const ApiError& error, const RequestInfo& request) {
  std::string message = StrCat("cannot ", request.verb, " ", ObjectName(request), ": HTTP ", error.http_code);
  if (!error.reason.empty()) StrAppend(&message, " ", error.reason);
  if (!error.message.empty()) StrAppend(&message, ": ", error.message);
  if (const std::string remedy = Remedy(error, request); !remedy.empty()) StrAppend(&message, " (", remedy, ")");
  absl::Status status(CodeOf(error), ToAbsl(message));
  json payload = {{"code", error.http_code}, {"reason", error.reason}, {"message", error.message}};
  if (error.retry_after_seconds) payload["retryAfterSeconds"] = *error.retry_after_seconds;
  for (const ApiErrorCause& cause : error.causes) {
    payload["causes"].push_back({{"reason", cause.reason}, {"message", cause.message}, {"field", cause.field}});
  }
  status.SetPayload(kApiErrorUrl, absl::Cord(payload.dump(-1, ' ', false, json::error_handler_t::replace)));
  return status;
}

std::optional<ApiError> ApiErrorOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kApiErrorUrl);
  if (!payload.has_value()) return std::nullopt;
  const json parsed = json::parse(std::string(*payload), nullptr, false);
  if (!parsed.is_object()) return std::nullopt;
  ApiError error;
  error.http_code = parsed.value("code", 0);
  error.reason = Text(parsed, "reason");
  error.message = Text(parsed, "message");
  if (parsed.contains("retryAfterSeconds")) error.retry_after_seconds = parsed["retryAfterSeconds"].get<int>();
  if (parsed.contains("causes")) {
    for (const json& cause : parsed["causes"]) {
      error.causes.push_back({Text(cause, "reason"), Text(cause, "message"), Text(cause, "field")});
    }
  }
  return error;
}

namespace {
int HttpCode(const absl::Status& status) {
  if (status.ok()) return 0;
  const std::optional<ApiError> error = ApiErrorOf(status);
  return error ? error->http_code : 0;
}
std::string Reason(const absl::Status& status) {
  const std::optional<ApiError> error = ApiErrorOf(status);
  return error ? error->reason : "";
}
}  // namespace

bool IsNotFound(const absl::Status& status) { return HttpCode(status) == 404; }
bool IsAlreadyExists(const absl::Status& status) {
  return HttpCode(status) == 409 && Reason(status) == "AlreadyExists";
}
bool IsConflict(const absl::Status& status) { return HttpCode(status) == 409 && Reason(status) != "AlreadyExists"; }
bool IsForbidden(const absl::Status& status) { return HttpCode(status) == 403; }
bool IsUnauthorized(const absl::Status& status) { return HttpCode(status) == 401; }
bool IsExpired(const absl::Status& status) {
  const std::string reason = Reason(status);
  return HttpCode(status) == 410 || reason == "Expired" || reason == "Gone";
}
bool IsInvalid(const absl::Status& status) {
  const int code = HttpCode(status);
  return code == 400 || code == 413 || code == 422;
}
bool IsTooManyRequests(const absl::Status& status) { return HttpCode(status) == 429; }

bool IsTooLargeResourceVersion(const absl::Status& status) {
  const std::optional<ApiError> error = ApiErrorOf(status);
  if (!error) return false;
  for (const ApiErrorCause& cause : error->causes) {
    if (cause.reason == "ResourceVersionTooLarge") return true;
  }
  return error->message.find("Too large resource version") != std::string::npos;  // servers before 1.18
}

bool IsNamespaceTerminating(const absl::Status& status) {
  const std::optional<ApiError> error = ApiErrorOf(status);
  if (!error || error->http_code != 403) return false;
  for (const ApiErrorCause& cause : error->causes) {
    if (cause.reason == "NamespaceTerminating") return true;
  }
  return false;
}

std::optional<Duration> RetryAfter(const absl::Status& status) {
  const std::optional<ApiError> error = ApiErrorOf(status);
  if (!error || !error->retry_after_seconds) return std::nullopt;
  return std::chrono::seconds(*error->retry_after_seconds);
}

absl::Status ConnectionError(ConnectionFailure failure, std::string_view message) {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  if (failure == ConnectionFailure::kTimeout) code = absl::StatusCode::kDeadlineExceeded;
  if (failure == ConnectionFailure::kTls) code = absl::StatusCode::kFailedPrecondition;
  if (failure == ConnectionFailure::kCancelled) code = absl::StatusCode::kCancelled;
  absl::Status status(code, ToAbsl(message));
  status.SetPayload(kConnectionUrl, absl::Cord(std::string(1, static_cast<char>('0' + static_cast<int>(failure)))));
  return status;
}

ConnectionFailure ConnectionFailureOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kConnectionUrl);
  if (!payload.has_value() || payload->size() != 1) return ConnectionFailure::kNone;
  return static_cast<ConnectionFailure>((*payload)[0] - '0');
}

}  // namespace patella::kube
