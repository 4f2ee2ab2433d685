// What cpprestsdk's errors mean. It loses the category of an error code (an OpenSSL 1 looks like EPERM), and says "No
// route to host" when a connection is refused, so code and text are judged together. The table is tested against the
// library itself. Pure.
#pragma once

#include <string>
#include <string_view>

#include "lib/kube/api_error.h"

namespace patella::kube {

// Of an http_exception with this code and what().
ConnectionFailure ClassifyHttpError(int code, std::string_view what);

// "GET https://host/path: …" with what went wrong and how to mend it. `source` names the credentials.
absl::Status DescribeHttpError(int code, std::string_view what, std::string_view method, std::string_view server,
                               std::string_view path, std::string_view source);

}  // namespace patella::kube
