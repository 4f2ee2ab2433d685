#include "lib/http/message.h"

#include <ctime>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "lib/base/text.h"
#include "lib/http/syntax.h"

namespace patella::http {

std::string_view Headers::Get(std::string_view name) const {
  for (const auto& [key, value] : fields_) {
    if (EqualsIgnoringCase(key, name)) return value;
  }
  return "";
}

bool Headers::Has(std::string_view name) const {
  for (const auto& field : fields_) {
    if (EqualsIgnoringCase(field.first, name)) return true;
  }
  return false;
}

void Headers::Set(std::string_view name, std::string_view value) {
  const std::string kept(value);  // value may point into the field that Remove destroys
  Remove(name);
  Add(name, kept);
}

void Headers::Add(std::string_view name, std::string_view value) { fields_.emplace_back(name, value); }

void Headers::Remove(std::string_view name) {
  const std::string kept(name);
  std::erase_if(fields_, [&](const auto& field) { return EqualsIgnoringCase(field.first, kept); });
}

std::string_view Request::path() const { return std::string_view(target).substr(0, target.find('?')); }

std::string_view Request::query() const {
  const size_t mark = target.find('?');
  return mark == std::string::npos ? std::string_view() : std::string_view(target).substr(mark + 1);
}

bool IsToken(std::string_view text) {
  static constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  if (text.empty()) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && kMarks.find(c) == std::string_view::npos) return false;
  }
  return true;
}

bool IsFieldValue(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t') || byte == 0x7f) return false;
  }
  return true;
}

bool ListHas(std::string_view list, std::string_view token) {
  for (const std::string_view word : Split(list, ',')) {
    if (EqualsIgnoringCase(Strip(word), token)) return true;
  }
  return false;
}

bool IsConnectionField(std::string_view name) {
  for (const char* field :
       {"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "TE", "Trailer"}) {
    if (EqualsIgnoringCase(name, field)) return true;
  }
  return false;
}

absl::Status CheckHeaders(const Headers& headers) {
  for (const auto& [name, value] : headers) {
    if (!IsToken(name))
      return absl::InvalidArgumentError(StrCat("header name '", absl::CHexEscape(name), "' is not a token"));
    if (!IsFieldValue(value))
      return absl::InvalidArgumentError(StrCat("header ", name, " has a control character in its value"));
  }
  return absl::OkStatus();
}

absl::Status CheckRequestLine(const Request& request) {
  if (!IsToken(request.method)) return absl::InvalidArgumentError("the request's method is not a token");
  if (request.target.empty()) return absl::InvalidArgumentError("the request's target is empty");
  for (const char c : request.target) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f)
      return absl::InvalidArgumentError("the request's target has a space or control character");
  }
  return absl::OkStatus();
}

void AppendHeaders(const Headers& headers, std::string& out) {
  for (const auto& [name, value] : headers) {
    if (IsConnectionField(name) || EqualsIgnoringCase(name, "Content-Length") || EqualsIgnoringCase(name, "Date"))
      continue;
    StrAppend(&out, name, ": ", value, "\r\n");
  }
}

std::string_view ReasonOf(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 406:
      return "Not Acceptable";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 424:
      return "Failed Dependency";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return status < 400 ? "OK" : "Error";
  }
}

std::string HttpDate() {
  thread_local std::time_t formatted_at = 0;
  thread_local char text[40] = "";
  const std::time_t now = std::time(nullptr);
  if (now != formatted_at) {
    std::tm utc{};
    gmtime_r(&now, &utc);
    std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    formatted_at = now;
  }
  return text;
}

}  // namespace patella::http
