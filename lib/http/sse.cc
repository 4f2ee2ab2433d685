// The text side of the client: URLs and event streams. No sockets here.
#include <utility>

#include "lib/base/text.h"
#include "lib/http/client.h"

namespace patella::http {
namespace {

absl::Status BadUrl(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(StrCat("'", text, "' ", why, ": write http://HOST:PORT/PATH"));
}

}  // namespace

absl::StatusOr<Url> ParseUrl(std::string_view text) {
  constexpr std::string_view kScheme = "http://";
  if (StartsWithIgnoringCase(text, "https://")) return BadUrl(text, "asks for TLS, which is not spoken here");
  if (!StartsWithIgnoringCase(text, kScheme)) return BadUrl(text, "does not begin with http://");
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return BadUrl(text, "has a space or control character");
  }
  const std::string_view rest = text.substr(kScheme.size());
  const size_t path_at = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, path_at);
  Url url;
  if (path_at != std::string_view::npos) {
    std::string_view path = rest.substr(path_at);
    path = path.substr(0, path.find('#'));
    url.path = path.starts_with('/') ? std::string(path) : StrCat("/", path);
  }
  if (authority.find('@') != std::string_view::npos)
    return BadUrl("http://…@…", "has a user name, which is not supported");
  std::string_view port;
  if (authority.starts_with('[')) {
    const size_t end = authority.find(']');
    if (end == std::string_view::npos) return BadUrl(text, "has '[' without ']'");
    url.host = std::string(authority.substr(1, end - 1));
    authority.remove_prefix(end + 1);
    if (!authority.empty() && authority[0] != ':') return BadUrl(text, "has something odd after ']'");
    port = authority;
  } else {
    const size_t colon = authority.find(':');
    url.host = std::string(authority.substr(0, colon));
    if (colon != std::string_view::npos) port = authority.substr(colon);
  }
  if (url.host.empty()) return BadUrl(text, "has no host");
  int64_t number = url.port;
  if (!port.empty() && (!ParseInt(port.substr(1), &number) || number < 1 || number > 65535)) {
    return BadUrl(text, "has no port from 1 to 65535");
  }
  url.port = static_cast<int>(number);
  return url;
}

SseParser::SseParser(std::function<void(std::string_view data)> on_event, size_t max_bytes)
    : on_event_(std::move(on_event)), max_bytes_(max_bytes) {}

absl::Status SseParser::Feed(std::string_view bytes) {
  while (!bytes.empty()) {
    // A line ends at LF, CR or CRLF. The LF of a CRLF may come with the next Feed.
    if (after_carriage_return_ && bytes[0] == '\n') bytes.remove_prefix(1);
    after_carriage_return_ = false;
    const size_t end = bytes.find_first_of("\r\n");
    const std::string_view piece = bytes.substr(0, end);
    if (buffer_.size() + data_.size() + piece.size() > max_bytes_) {
      return absl::ResourceExhaustedError(StrCat("an event of the stream is larger than ", max_bytes_, " bytes"));
    }
    if (end == std::string_view::npos) {
      buffer_.append(piece);
      return absl::OkStatus();
    }
    after_carriage_return_ = bytes[end] == '\r';
    bytes.remove_prefix(end + 1);
    if (buffer_.empty()) {
      TakeLine(piece);
    } else {
      buffer_.append(piece);
      TakeLine(std::exchange(buffer_, {}));
    }
  }
  return absl::OkStatus();
}

void SseParser::TakeLine(std::string_view line) {
  if (line.empty()) {
    if (!has_data_) return;
    has_data_ = false;
    on_event_(std::exchange(data_, {}));
    return;
  }
  const size_t colon = line.find(':');
  if (line.substr(0, colon) != "data") return;  // comments begin with a colon; event, id and retry are not used
  std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (has_data_) data_ += '\n';
  data_.append(value);
  has_data_ = true;
}

}  // namespace patella::http
