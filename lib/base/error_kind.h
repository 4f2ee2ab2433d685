// The closed list of ways a request or a command can fail, and what each means to HTTP, gRPC, the shell and the
// metrics.
//
// The table in error_kind.cc is the only place where an error gets its HTTP status, its TGI error_type, its OpenAI
// error type, its exit code and its metric label.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace patella {

enum class ErrorKind {
  kBadRequest,   // not JSON, wrong type, unknown parameter value              400
  kNotFound,     // unknown route or model                                     404
  kTooLarge,     // body or header over the limit                              413
  kValidation,   // well-formed but cannot be served: prompt too long          422, TGI "validation"
  kGeneration,   // the engine failed while generating                         424, TGI "generation"
  kOverloaded,   // over MAX_CONCURRENT_REQUESTS                               429, TGI "overloaded"
  kInternal,     // our bug                                                    500
  kUnavailable,  // engine gone or not ready                                   503, TGI "unhealthy"
  kTimeout,      // the engine or client took longer than allowed              504
};

struct ErrorKindInfo {
  ErrorKind kind;
  int http_status;
  std::string_view tgi_error_type;     // "error_type" of TGI's body
  std::string_view openai_error_type;  // "error.type" of OpenAI's body
  std::string_view metric_label;       // label value of patella_* and tgi_* counters
  int exit_code;                       // of a command-line program that ends with it
  absl::StatusCode status_code;
};

const ErrorKindInfo& InfoOf(ErrorKind kind);

// The kind that best fits a Status: ResourceExhausted is overload, Unavailable is unavailable and so is what is taken or
// not allowed (AlreadyExists, PermissionDenied: a port), InvalidArgument a bad request, OutOfRange, FailedPrecondition
// and Unimplemented validation; anything else internal.
ErrorKind KindOf(const absl::Status& status);

}  // namespace patella
