// The body of an error, in the dialect of the route that failed.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/error_kind.h"
#include "lib/http/message.h"

namespace patella::wire {

// On /v1/* OpenAI's {"error":{"message","type","param","code"}}, elsewhere TGI's {"error","error_type"}. Status, types
// and labels are those of lib/base/error_kind.cc. 429 and 503 carry Retry-After, rounded up to whole seconds, at
// least 1.
http::Response ErrorResponse(ErrorKind kind, std::string_view message, std::string_view request_path,
                             double retry_after_seconds = 1);

// The body alone, e.g. for an error event inside a stream that has begun.
std::string ErrorBody(ErrorKind kind, std::string_view message, std::string_view request_path);

// True for the routes that speak OpenAI's dialect.
bool IsOpenAiPath(std::string_view request_path);

}  // namespace patella::wire
