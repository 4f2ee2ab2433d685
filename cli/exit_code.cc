#include "cli/exit_code.h"

namespace patella::cli {

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
      return kUsage;
    case absl::StatusCode::kUnavailable:
      return kUnreachable;
    case absl::StatusCode::kOutOfRange:
      return kTargetImpossible;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kResourceExhausted:
      return kRefused;
    case absl::StatusCode::kDeadlineExceeded:
      return kTimedOut;
    case absl::StatusCode::kAborted:
      return kTooNoisy;
    case absl::StatusCode::kCancelled:
      return kInterrupted;
    default:
      return kInternalError;
  }
}

}  // namespace patella::cli
