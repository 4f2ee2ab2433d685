// Where the API server is and who we are: from a kubeconfig (with kubectl's rules) or from the pod's service account.
//
// Several files merge as kubectl merges them: of clusters, users and contexts the first file wins by name,
// current-context comes from the first file that sets it, relative paths are relative to their own file, and *-data
// wins over a file of the same purpose. Pure but for reading files; errors name file, key and remedy. Secrets never
// appear in messages.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace patella::kube {

// A program that prints credentials (client.authentication.k8s.io).
struct ExecPlugin {
  std::string api_version;
  std::string command;
  std::vector<std::string> args;
  std::vector<std::pair<std::string, std::string>> env;
  std::string install_hint;
  bool provide_cluster_info = false;
};

struct ClusterAccess {
  std::string server;  // https://host:port, perhaps with a path; no slash at the end
  std::string ca_pem;  // contents win over the file
  std::string ca_file;
  bool insecure_skip_tls_verify = false;
  std::string tls_server_name;
  std::string token;
  std::string token_file;  // wins over token, and is read again
  std::string username, password;
  std::string client_certificate_pem, client_certificate_file;
  std::string client_key_pem, client_key_file;
  std::optional<ExecPlugin> exec;
  std::string namespace_name;  // of the context or the pod; "default" if none is named
  std::string source;          // for messages: "kubeconfig /a/b, context c" or "the pod's service account"
};

using GetEnvironment = std::function<const char*(const char* name)>;  // std::getenv, or a test's own

// `paths` is a list separated by ':' as in KUBECONFIG; missing files are skipped unless it is the only one. `context`
// "" is current-context. NotFound: no file there. InvalidArgument: what is wrong, in which file.
absl::StatusOr<ClusterAccess> LoadKubeconfig(std::string_view paths, std::string_view context = "");

inline constexpr std::string_view kServiceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";
// FailedPrecondition: not in a pod (KUBERNETES_SERVICE_HOST is not set), or no token is mounted.
absl::StatusOr<ClusterAccess> LoadInCluster(std::string_view folder = kServiceAccountFolder,
                                            const GetEnvironment& environment = {});

// `kubeconfig` if not empty (the setting KUBECONFIG), else the pod's service account, else ~/.kube/config.
absl::StatusOr<ClusterAccess> LoadAccess(std::string_view kubeconfig, const GetEnvironment& environment = {});

}  // namespace patella::kube
