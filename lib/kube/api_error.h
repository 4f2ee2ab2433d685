// What the API server or the way to it answered instead of success, as absl::Status with everything it said.
//
// The message names verb, object and remedy in one sentence; the API server's own Status travels as payload and is read
// back with ApiErrorOf. Code of the Status by HTTP status: 400, 422 InvalidArgument; 401 Unauthenticated; 403
// PermissionDenied; 404 NotFound; 409 AlreadyExists or Aborted (conflict); 410 OutOfRange; 429 ResourceExhausted; 500
// Internal; 502, 503 Unavailable; 504 DeadlineExceeded. Failures of the connection are Unavailable, DeadlineExceeded,
// FailedPrecondition (TLS set-up) or Cancelled. Thread-safe: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/clock.h"

namespace patella::kube {

struct ApiErrorCause {
  std::string reason;  // "FieldManagerConflict", "FieldValueInvalid", "ResourceVersionTooLarge"
  std::string message;
  std::string field;  // ".spec.replicas"
};

struct ApiError {
  int http_code = 0;
  std::string reason;   // "NotFound", "Conflict", "Expired"; "" if the body was no Status
  std::string message;  // the API server's own words
  std::vector<ApiErrorCause> causes;
  std::optional<int> retry_after_seconds;  // of the body, or of the header Retry-After
};

// What was asked, for messages.
struct RequestInfo {
  std::string verb;      // get, list, watch, create, update, patch, apply, delete
  std::string resource;  // "deployments.apps"
  std::string subresource;
  std::string namespace_name;
  std::string name;
  std::string source;  // where the credentials come from: "kubeconfig /a/b, context c", "service account NS/NAME"
};

// From the body of an answer that is no 2xx. Any body will do: a proxy's HTML is quoted in part.
ApiError ParseApiError(int http_code, std::string_view body, std::string_view retry_after_header = "");

absl::Status ToStatus(const ApiError& error, const RequestInfo& request);

// The payload; nullopt if the Status did not come from an API server.
std::optional<ApiError> ApiErrorOf(const absl::Status& status);

bool IsNotFound(const absl::Status& status);
bool IsAlreadyExists(const absl::Status& status);
bool IsConflict(const absl::Status& status);  // resourceVersion is old, or another field manager owns a field
bool IsForbidden(const absl::Status& status);
bool IsUnauthorized(const absl::Status& status);
bool IsExpired(const absl::Status& status);  // 410 in both shapes: the resource version or continue token is too old
bool IsInvalid(const absl::Status& status);  // 400, 413 or 422: repeating it will not help
bool IsTooManyRequests(const absl::Status& status);
bool IsTooLargeResourceVersion(const absl::Status& status);  // this API server has not seen that version yet
bool IsNamespaceTerminating(const absl::Status& status);
std::optional<Duration> RetryAfter(const absl::Status& status);

// How a connection failed. The transport marks its errors with one of these.
enum class ConnectionFailure { kNone, kRefused, kUnreachable, kDropped, kTimeout, kTls, kCancelled };
absl::Status ConnectionError(ConnectionFailure failure, std::string_view message);
ConnectionFailure ConnectionFailureOf(const absl::Status& status);

}  // namespace patella::kube
