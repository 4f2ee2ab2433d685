#include "lib/kube/kubeconfig.h"

#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/escaping.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/files.h"

namespace patella::kube {
namespace {

namespace fs = std::filesystem;

// An entry of clusters, users or contexts, with the file that it comes from.
struct Entry {
  YAML::Node node;
  std::string file;
};

struct Merged {
  std::map<std::string, Entry> clusters, users, contexts;
  std::string current_context;
  std::string files;  // for messages
};

std::string Scalar(const YAML::Node& map, const char* key) {
  if (!map.IsMap()) return "";
  const YAML::Node value = map[key];
  return value && value.IsScalar() ? value.Scalar() : "";
}

bool Flag(const YAML::Node& map, const char* key) { return Scalar(map, key) == "true"; }

void Take(const YAML::Node& root, const char* list, const char* member, const std::string& file,
          std::map<std::string, Entry>& into) {
  const YAML::Node entries = root[list];
  if (!entries || !entries.IsSequence()) return;
  for (const YAML::Node& entry : entries) {
    if (!entry.IsMap() || !entry[member] || !entry[member].IsMap()) continue;
    into.try_emplace(Scalar(entry, "name"), Entry{entry[member], file});
  }
}

absl::Status ReadFile(const std::string& file, Merged& merged) {
  PATELLA_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(file));
  const YAML::Node root = YAML::Load(text);
  if (root.IsNull()) return absl::OkStatus();
  if (!root.IsMap()) return absl::InvalidArgumentError(StrCat(file, ": not a kubeconfig: the top is not a map"));
  Take(root, "clusters", "cluster", file, merged.clusters);
  Take(root, "users", "user", file, merged.users);
  Take(root, "contexts", "context", file, merged.contexts);
  if (merged.current_context.empty()) merged.current_context = Scalar(root, "current-context");
  return absl::OkStatus();
}

std::string Resolve(const std::string& path, const std::string& file) {
  if (path.empty() || fs::path(path).is_absolute()) return path;
  return (fs::absolute(file).parent_path() / path).lexically_normal().string();
}

// KEY-data in base64, else the path under KEY.
absl::Status TakePem(const Entry& entry, const char* key, std::string& pem, std::string& file) {
  const std::string data_key = StrCat(key, "-data");
  if (const std::string data = Scalar(entry.node, data_key.c_str()); !data.empty()) {
    if (!absl::Base64Unescape(data, &pem)) {
      return absl::InvalidArgumentError(StrCat(entry.file, ": ", data_key, " is not base64"));
    }
    return absl::OkStatus();
  }
  file = Resolve(Scalar(entry.node, key), entry.file);
  return absl::OkStatus();
}

absl::Status TakeExec(const Entry& entry, ClusterAccess& access) {
  const YAML::Node exec = entry.node["exec"];
  if (!exec || !exec.IsMap()) return absl::OkStatus();
  ExecPlugin plugin;
  plugin.api_version = Scalar(exec, "apiVersion");
  plugin.command = Scalar(exec, "command");
  if (plugin.command.find('/') != std::string::npos) plugin.command = Resolve(plugin.command, entry.file);
  plugin.install_hint = Scalar(exec, "installHint");
  plugin.provide_cluster_info = Flag(exec, "provideClusterInfo");
  if (const YAML::Node args = exec["args"]; args && args.IsSequence()) {
    for (const YAML::Node& arg : args) plugin.args.push_back(arg.Scalar());
  }
  if (const YAML::Node env = exec["env"]; env && env.IsSequence()) {
    for (const YAML::Node& variable : env) plugin.env.emplace_back(Scalar(variable, "name"), Scalar(variable, "value"));
  }
  if (plugin.command.empty()) return absl::InvalidArgumentError(StrCat(entry.file, ": exec: command is missing"));
  if (plugin.api_version != "client.authentication.k8s.io/v1" &&
      plugin.api_version != "client.authentication.k8s.io/v1beta1") {
    return absl::InvalidArgumentError(StrCat(entry.file, ": exec: apiVersion '", plugin.api_version,
                                             "' is not spoken: use client.authentication.k8s.io/v1"));
  }
  access.exec = std::move(plugin);
  return absl::OkStatus();
}

absl::Status TakeCluster(const Entry& entry, const std::string& name, ClusterAccess& access) {
  access.server = Scalar(entry.node, "server");
  while (access.server.ends_with('/')) access.server.pop_back();
  if (!access.server.starts_with("https://") && !access.server.starts_with("http://")) {
    return absl::InvalidArgumentError(
        StrCat(entry.file, ": cluster '", name, "': server '", access.server, "' is not an http(s):// address"));
  }
  if (!Scalar(entry.node, "proxy-url").empty()) {
    return absl::InvalidArgumentError(StrCat(entry.file, ": cluster '", name,
                                             "': proxy-url is not supported: name a server that is reached directly"));
  }
  access.insecure_skip_tls_verify = Flag(entry.node, "insecure-skip-tls-verify");
  access.tls_server_name = Scalar(entry.node, "tls-server-name");
  PATELLA_RETURN_IF_ERROR(TakePem(entry, "certificate-authority", access.ca_pem, access.ca_file));
  if (access.insecure_skip_tls_verify && !(access.ca_pem.empty() && access.ca_file.empty())) {
    return absl::InvalidArgumentError(
        StrCat(entry.file, ": cluster '", name, "': insecure-skip-tls-verify and a certificate-authority: remove one"));
  }
  return absl::OkStatus();
}

absl::Status TakeUser(const Entry& entry, const std::string& name, ClusterAccess& access) {
  access.token = Scalar(entry.node, "token");
  access.token_file = Resolve(Scalar(entry.node, "tokenFile"), entry.file);
  access.username = Scalar(entry.node, "username");
  access.password = Scalar(entry.node, "password");
  PATELLA_RETURN_IF_ERROR(
      TakePem(entry, "client-certificate", access.client_certificate_pem, access.client_certificate_file));
  PATELLA_RETURN_IF_ERROR(TakePem(entry, "client-key", access.client_key_pem, access.client_key_file));
  const bool has_certificate = !access.client_certificate_pem.empty() || !access.client_certificate_file.empty();
  const bool has_key = !access.client_key_pem.empty() || !access.client_key_file.empty();
  if (has_certificate != has_key) {
    return absl::InvalidArgumentError(StrCat(entry.file, ": user '", name, "': client-certificate and client-key go ",
                                             "together, but only one is given"));
  }
  if (entry.node["auth-provider"]) {
    return absl::InvalidArgumentError(
        StrCat(entry.file, ": user '", name, "': auth-provider was removed from Kubernetes 1.26: use exec"));
  }
  return TakeExec(entry, access);
}

absl::StatusOr<ClusterAccess> Select(const Merged& merged, std::string_view context) {
  const std::string name = context.empty() ? merged.current_context : std::string(context);
  if (name.empty()) {
    return absl::InvalidArgumentError(
        StrCat(merged.files, ": no current-context: choose one with kubectl config use-context"));
  }
  const auto chosen = merged.contexts.find(name);
  if (chosen == merged.contexts.end()) {
    std::vector<std::string> names;
    for (const auto& [known, entry] : merged.contexts) names.push_back(known);
    return absl::InvalidArgumentError(
        StrCat(merged.files, ": no context '", name, "'; there are: ", names.empty() ? "none" : Join(names, ", ")));
  }
  const Entry& entry = chosen->second;
  ClusterAccess access;
  access.source = StrCat("kubeconfig ", entry.file, ", context ", name);
  access.namespace_name = Scalar(entry.node, "namespace");
  if (access.namespace_name.empty()) access.namespace_name = "default";
  const std::string cluster_name = Scalar(entry.node, "cluster");
  const auto cluster = merged.clusters.find(cluster_name);
  if (cluster == merged.clusters.end()) {
    return absl::InvalidArgumentError(
        StrCat(entry.file, ": context '", name, "' names the cluster '", cluster_name, "', which is not there"));
  }
  PATELLA_RETURN_IF_ERROR(TakeCluster(cluster->second, cluster_name, access));
  const std::string user_name = Scalar(entry.node, "user");
  if (user_name.empty()) return access;
  const auto user = merged.users.find(user_name);
  if (user == merged.users.end()) {
    return absl::InvalidArgumentError(
        StrCat(entry.file, ": context '", name, "' names the user '", user_name, "', which is not there"));
  }
  PATELLA_RETURN_IF_ERROR(TakeUser(user->second, user_name, access));
  return access;
}

const char* Lookup(const GetEnvironment& environment, const char* name) {
  return environment ? environment(name) : std::getenv(name);
}

std::string LookupText(const GetEnvironment& environment, const char* name) {
  const char* value = Lookup(environment, name);
  return value == nullptr ? "" : value;
}

}  // namespace

absl::StatusOr<ClusterAccess> LoadKubeconfig(std::string_view paths, std::string_view context) {
  std::vector<std::string> files;
  std::set<std::string> seen;
  for (const std::string_view path : Split(paths, ':')) {
    if (!path.empty() && seen.emplace(path).second) files.emplace_back(path);
  }
  Merged merged;
  merged.files = Join(files, ":");
  std::string file;
  try {
    bool any = false;
    for (const std::string& next : files) {
      file = next;
      std::error_code error;
      if (files.size() > 1 && !fs::exists(file, error)) continue;
      PATELLA_RETURN_IF_ERROR(ReadFile(file, merged));
      any = true;
    }
    if (!any) return absl::NotFoundError(StrCat("no kubeconfig at ", merged.files, ": set KUBECONFIG"));
    return Select(merged, context);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(StrCat(file, ": not a kubeconfig: ", error.what()));
  }
}

absl::StatusOr<ClusterAccess> LoadInCluster(std::string_view folder, const GetEnvironment& environment) {
  const std::string host = LookupText(environment, "KUBERNETES_SERVICE_HOST");
  const std::string port = LookupText(environment, "KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty()) {
    return absl::FailedPreconditionError(
        "not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; set KUBECONFIG instead");
  }
  ClusterAccess access;
  const bool is_ipv6 = host.find(':') != std::string::npos;
  access.server = is_ipv6 ? StrCat("https://[", host, "]:", port) : StrCat("https://", host, ":", port);
  access.token_file = StrCat(folder, "/token");
  access.ca_file = StrCat(folder, "/ca.crt");
  access.source = "the pod's service account";
  std::error_code error;
  if (!fs::exists(access.token_file, error)) {
    return absl::FailedPreconditionError(StrCat("in a pod, but there is no ", access.token_file,
                                                ": mount the token of a ServiceAccount (automountServiceAccountToken, "
                                                "or a projected volume)"));
  }
  const absl::StatusOr<std::string> name = ReadWholeFile(StrCat(folder, "/namespace"));
  access.namespace_name = name.ok() ? std::string(Strip(*name)) : "default";
  return access;
}

absl::StatusOr<ClusterAccess> LoadAccess(std::string_view kubeconfig, const GetEnvironment& environment) {
  if (!kubeconfig.empty()) return LoadKubeconfig(kubeconfig);
  if (!LookupText(environment, "KUBERNETES_SERVICE_HOST").empty())
    return LoadInCluster(kServiceAccountFolder, environment);
  const std::string home = LookupText(environment, "HOME");
  const std::string file = StrCat(home, "/.kube/config");
  std::error_code error;
  if (!home.empty() && fs::exists(file, error)) return LoadKubeconfig(file);
  return absl::FailedPreconditionError(
      "no Kubernetes cluster: KUBECONFIG is not set, this is no pod, and there is no ~/.kube/config");
}

}  // namespace patella::kube
