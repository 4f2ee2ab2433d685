// Reading small files whole: tokens, certificates, kubeconfigs.
#pragma once

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/text.h"

namespace patella::kube {

// NotFound or FailedPrecondition, with path and reason.
inline absl::StatusOr<std::string> ReadWholeFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const int why = errno;
    const std::string message = StrCat(path, " cannot be read: ", why != 0 ? std::strerror(why) : "unknown reason");
    return why == ENOENT ? absl::NotFoundError(message) : absl::FailedPreconditionError(message);
  }
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return absl::FailedPreconditionError(StrCat(path, " cannot be read to its end"));
  return text;
}

}  // namespace patella::kube
