#include "lib/kube/transport.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>

#include "lib/base/text.h"
#include "lib/kube/process_environment.h"
#include "lib/kube/tls_context.h"
#include "lib/kube/transport_errors.h"

extern char** environ;

namespace patella::kube {
namespace {

constexpr const char* kCaVariables[] = {"SSL_CERT_FILE", "SSL_CERT_DIR"};
constexpr const char* kNowhere[] = {"/dev/null", "/nonexistent"};

std::vector<std::optional<std::string>>& OriginalValues() {
  static std::vector<std::optional<std::string>> values;  // empty until HideSystemCas
  return values;
}

bool IsTlsCode(int code) { return (static_cast<unsigned>(code) >> 23) == 20; }  // ERR_LIB_SSL in OpenSSL 3's packing

std::string ReasonOf(int code) { return TlsReason(static_cast<unsigned long>(static_cast<unsigned>(code))); }

// Bytes that were changed on the way: a new connection helps, another certificate does not.
bool IsDamagedRecord(int code) { return ReasonOf(code) == "decryption failed or bad record mac"; }

std::string_view PathAlone(std::string_view path) { return path.substr(0, path.find('?')); }

}  // namespace

void HideSystemCas() {
  auto& values = OriginalValues();
  if (!values.empty()) return;
  for (size_t i = 0; i < std::size(kCaVariables); ++i) {
    const char* value = std::getenv(kCaVariables[i]);
    values.push_back(value == nullptr ? std::nullopt : std::optional<std::string>(value));
    setenv(kCaVariables[i], kNowhere[i], 1);
  }
}

std::vector<std::string> EnvironmentForChild() {
  std::vector<std::string> environment;
  for (char** line = environ; line != nullptr && *line != nullptr; ++line) environment.emplace_back(*line);
  const auto& values = OriginalValues();
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string prefix = StrCat(kCaVariables[i], "=");
    std::erase_if(environment, [&](const std::string& line) { return line.starts_with(prefix); });
    if (values[i]) environment.push_back(prefix + *values[i]);
  }
  return environment;
}

std::string_view FindHeader(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (EqualsIgnoringCase(key, name)) return value;
  }
  return {};
}

ConnectionFailure ClassifyHttpError(int code, std::string_view what) {
  const auto says = [&](std::string_view text) { return what.find(text) != std::string_view::npos; };
  if (code == ECANCELED) return ConnectionFailure::kCancelled;
  if (code == ETIMEDOUT) return ConnectionFailure::kTimeout;
  if (IsTlsCode(code)) return IsDamagedRecord(code) ? ConnectionFailure::kDropped : ConnectionFailure::kTls;
  if (code == ECONNREFUSED || says("Failed to connect to any resolved endpoint")) return ConnectionFailure::kRefused;
  if (says("Error resolving address")) return ConnectionFailure::kUnreachable;
  return ConnectionFailure::kDropped;
}

absl::Status DescribeHttpError(int code, std::string_view what, std::string_view method, std::string_view server,
                               std::string_view path, std::string_view source) {
  const ConnectionFailure failure = ClassifyHttpError(code, what);
  const std::string request = StrCat(method, " ", server, PathAlone(path), ": ");
  std::string why;
  switch (failure) {
    case ConnectionFailure::kRefused:
      why =
          StrCat("nothing accepts connections there: is the API server up, and is the address of ", source, " right?");
      break;
    case ConnectionFailure::kUnreachable:
      why = StrCat("the name cannot be resolved: check DNS and the address in ", source);
      break;
    case ConnectionFailure::kTimeout:
      why = "no answer in time";
      break;
    case ConnectionFailure::kCancelled:
      why = "cancelled";
      break;
    case ConnectionFailure::kTls: {
      const std::string reason = ReasonOf(code);
      why = StrCat("TLS: ", reason.empty() ? std::string(what) : reason);
      if (reason == "certificate verify failed") {
        StrAppend(&why,
                  ": the server's certificate has expired (or is not valid yet: is this node's clock right?), is for "
                  "another name, or is not signed by the CA of ",
                  source, "; compare certificate-authority and tls-server-name with openssl s_client -connect");
      } else {
        StrAppend(&why, ": the server may want a client certificate that ", source, " does not give");
      }
      break;
    }
    default:
      why = StrCat("the connection broke (", IsTlsCode(code) ? ReasonOf(code) : std::string(what), ")");
  }
  return ConnectionError(failure, request + why);
}

}  // namespace patella::kube
