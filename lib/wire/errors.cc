#include "lib/wire/errors.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

namespace patella::wire {

using Json = nlohmann::ordered_json;

bool IsOpenAiPath(std::string_view request_path) { return request_path == "/v1" || request_path.starts_with("/v1/"); }

std::string ErrorBody(ErrorKind kind, std::string_view message, std::string_view request_path) {
  const ErrorKindInfo& info = InfoOf(kind);
  Json body;
  if (IsOpenAiPath(request_path)) {
    body["error"] = {
        {"message", message}, {"type", info.openai_error_type}, {"param", nullptr}, {"code", info.tgi_error_type}};
  } else {
    body = {{"error", message}, {"error_type", info.tgi_error_type}};
  }
  // Messages may quote a client's bytes, which need not be UTF-8.
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

http::Response ErrorResponse(ErrorKind kind, std::string_view message, std::string_view request_path,
                             double retry_after_seconds) {
  http::Response response;
  response.status = InfoOf(kind).http_status;
  response.headers.Set("Content-Type", "application/json");
  if (response.status == 429 || response.status == 503) {
    const double seconds =
        std::isfinite(retry_after_seconds) ? std::clamp(std::ceil(retry_after_seconds), 1.0, 86400.0) : 1.0;
    response.headers.Set("Retry-After", std::to_string(static_cast<int>(seconds)));
  }
  response.body = ErrorBody(kind, message, request_path);
  return response;
}

}  // namespace patella::wire
