// Writing HTTP/1.1 heads, and refusing what would let a value break out of its field. Internal to lib/http; no Boost.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "lib/http/message.h"

namespace patella::http {

bool IsToken(std::string_view text);       // RFC 9110 token: methods and field names
bool IsFieldValue(std::string_view text);  // no control characters but tab

// True if the comma-separated list has the token, whatever its case.
bool ListHas(std::string_view list, std::string_view token);

// Fields that describe one connection and not the message: the library writes these itself.
bool IsConnectionField(std::string_view name);

// InvalidArgument names the first field whose name or value could not be sent as it stands.
absl::Status CheckHeaders(const Headers& headers);
// The same for a request's method and target.
absl::Status CheckRequestLine(const Request& request);

// "name: value\r\n" of every field but the connection's own, Content-Length and (for responses) Date.
void AppendHeaders(const Headers& headers, std::string& out);

std::string_view ReasonOf(int status);
std::string HttpDate();  // now, as the Date field wants it; formatted once a second

}  // namespace patella::http
