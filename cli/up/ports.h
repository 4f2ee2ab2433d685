// Addresses "HOST:PORT" that the sidecar is to listen on.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace patella::cli {

// The same address with port 0 replaced by one that the kernel chose, after checking that it can be bound now. InvalidArgument names the
// flag and what is wrong: not an address, or taken.
absl::StatusOr<std::string> CheckAddress(const std::string& flag, const std::string& address);

// "http://127.0.0.1:8080": how to reach what listens there from this machine.
std::string UrlOf(const std::string& address);

}  // namespace patella::cli
