#include "lib/base/error_kind.h"

#include <array>
#include <cstddef>

namespace patella {
namespace {

using absl::StatusCode;

// Exit codes: 2 is the user's mistake, 69 (EX_UNAVAILABLE) something that should be there is not, 70 (EX_SOFTWARE) our
// bug, 75 (EX_TEMPFAIL) worth trying again.
constexpr std::array<ErrorKindInfo, 9> kTable = {{
    {ErrorKind::kBadRequest, 400, "bad_request", "invalid_request_error", "bad_request", 2,
     StatusCode::kInvalidArgument},
    {ErrorKind::kNotFound, 404, "not_found", "not_found_error", "not_found", 2, StatusCode::kNotFound},
    {ErrorKind::kTooLarge, 413, "too_large", "invalid_request_error", "too_large", 2, StatusCode::kInvalidArgument},
    {ErrorKind::kValidation, 422, "validation", "invalid_request_error", "validation", 2, StatusCode::kOutOfRange},
    {ErrorKind::kGeneration, 424, "generation", "server_error", "generation", 70, StatusCode::kAborted},
    {ErrorKind::kOverloaded, 429, "overloaded", "rate_limit_error", "overloaded", 75, StatusCode::kResourceExhausted},
    {ErrorKind::kInternal, 500, "internal", "server_error", "internal", 70, StatusCode::kInternal},
    {ErrorKind::kUnavailable, 503, "unhealthy", "server_error", "unavailable", 69, StatusCode::kUnavailable},
    {ErrorKind::kTimeout, 504, "timeout", "server_error", "timeout", 75, StatusCode::kDeadlineExceeded},
}};

constexpr bool TableIsInOrder() {
  for (size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<size_t>(kTable[i].kind) != i) return false;
  }
  return true;
}
static_assert(TableIsInOrder(), "kTable must follow the order of ErrorKind");

}  // namespace

const ErrorKindInfo& InfoOf(ErrorKind kind) { return kTable[static_cast<size_t>(kind)]; }

ErrorKind KindOf(const absl::Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      return ErrorKind::kBadRequest;
    case StatusCode::kNotFound:
      return ErrorKind::kNotFound;
    case StatusCode::kOutOfRange:
    case StatusCode::kFailedPrecondition:
    case StatusCode::kUnimplemented:
      return ErrorKind::kValidation;
    case StatusCode::kAborted:
      return ErrorKind::kGeneration;
    case StatusCode::kResourceExhausted:
      return ErrorKind::kOverloaded;
    case StatusCode::kUnavailable:
    case StatusCode::kAlreadyExists:
    case StatusCode::kPermissionDenied:
      return ErrorKind::kUnavailable;
    case StatusCode::kDeadlineExceeded:
      return ErrorKind::kTimeout;
    default:
      return ErrorKind::kInternal;
  }
}

}  // namespace patella
