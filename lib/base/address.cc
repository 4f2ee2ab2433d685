#include "lib/base/address.h"

#include "lib/base/text.h"

namespace patella {

absl::StatusOr<Address> ParseAddress(std::string_view setting, std::string_view text) {
  const size_t colon = text.rfind(':');
  int64_t port = 0;
  if (colon == std::string_view::npos || colon == 0 || !ParseInt(text.substr(colon + 1), &port) || port < 0 ||
      port > 65535) {
    return absl::InvalidArgumentError(
        StrCat(setting, " is \"", text, "\"; expected ADDRESS:PORT, for example 127.0.0.1:8080"));
  }
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return Address{.host = std::string(host), .port = static_cast<int>(port)};
}

}  // namespace patella
