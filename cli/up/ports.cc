#include "cli/up/ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/base/text.h"

namespace patella::cli {

absl::StatusOr<std::string> CheckAddress(const std::string& flag, const std::string& address) {
  const size_t colon = address.rfind(':');
  int64_t port = 0;
  sockaddr_in in{};
  in.sin_family = AF_INET;
  const std::string host = address.substr(0, colon);
  if (colon == std::string::npos || !ParseInt(address.substr(colon + 1), &port) || port < 0 || port > 65535 ||
      inet_pton(AF_INET, host.c_str(), &in.sin_addr) != 1) {
    return absl::InvalidArgumentError(
        StrCat(flag, " ", address, ": expected ADDRESS:PORT, for example 127.0.0.1:8080"));
  }
  in.sin_port = htons(static_cast<uint16_t>(port));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  socklen_t size = sizeof in;
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&in), sizeof in) == 0 && listen(fd, 1) == 0;
  const int error = errno;
  getsockname(fd, reinterpret_cast<sockaddr*>(&in), &size);
  close(fd);
  if (bound) return StrCat(host, ":", ntohs(in.sin_port));
  if (error == EADDRINUSE) {
    return absl::InvalidArgumentError(
        StrCat(flag, " ", address, ": something else listens there already: stop it, or choose another port with ",
               flag, " ", host, ":", port == 65535 ? port - 1 : port + 10));
  }
  return absl::InvalidArgumentError(StrCat(flag, " ", address, ": cannot be listened on: ", std::strerror(error)));
}

std::string UrlOf(const std::string& address) {
  return StrCat("http://", address.starts_with("0.0.0.0:") ? StrCat("127.0.0.1", address.substr(7)) : address);
}

}  // namespace patella::cli
