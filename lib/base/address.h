// Addresses that programs listen on.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace patella {

struct Address {
  std::string host;  // numeric, without the brackets of IPv6
  int port = 0;
};

// Of ADDRESS:PORT, "127.0.0.1:8080" or "[::]:8080"; InvalidArgument names `setting`.
absl::StatusOr<Address> ParseAddress(std::string_view setting, std::string_view text);

}  // namespace patella
