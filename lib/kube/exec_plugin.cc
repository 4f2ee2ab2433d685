#include "lib/kube/exec_plugin.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/time/time.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/kube/files.h"
#include "lib/kube/transport.h"

namespace patella::kube {
namespace {

using nlohmann::json;
constexpr size_t kMaxOutput = size_t{1} << 20;

absl::StatusOr<std::string> ExecInfo(const ExecPlugin& plugin, const ClusterAccess& access) {
  json info = {{"apiVersion", plugin.api_version}, {"kind", "ExecCredential"}, {"spec", {{"interactive", false}}}};
  if (plugin.provide_cluster_info) {
    json cluster = {{"server", access.server}};
    std::string ca = access.ca_pem;
    if (ca.empty() && !access.ca_file.empty()) {
      PATELLA_ASSIGN_OR_RETURN(ca, ReadWholeFile(access.ca_file));
    }
    if (!ca.empty()) cluster["certificate-authority-data"] = absl::Base64Escape(ca);
    if (access.insecure_skip_tls_verify) cluster["insecure-skip-tls-verify"] = true;
    if (!access.tls_server_name.empty()) cluster["tls-server-name"] = access.tls_server_name;
    info["spec"]["cluster"] = cluster;
  }
  return info.dump();
}

std::vector<std::string> Environment(const ExecPlugin& plugin, const std::string& info) {
  std::vector<std::string> environment = EnvironmentForChild();
  const auto set = [&](const std::string& name, const std::string& value) {
    const std::string prefix = StrCat(name, "=");
    std::erase_if(environment, [&](const std::string& line) { return line.starts_with(prefix); });
    environment.push_back(prefix + value);
  };
  for (const auto& [name, value] : plugin.env) set(name, value);
  set("KUBERNETES_EXEC_INFO", info);
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Everything the child writes until it closes its end; false if that takes too long or is too much.
bool ReadAll(int fd, std::chrono::steady_clock::time_point deadline, std::string& output) {
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0 || output.size() > kMaxOutput) return false;
    pollfd waiting{fd, POLLIN, 0};
    const int ready = poll(&waiting, 1, static_cast<int>(left));
    if (ready < 0 && errno != EINTR) return false;
    if (ready <= 0) continue;
    char chunk[4096];
    const ssize_t size = read(fd, chunk, sizeof chunk);
    if (size == 0) return true;
    if (size < 0 && errno != EINTR) return false;
    if (size > 0) output.append(chunk, static_cast<size_t>(size));
  }
}

absl::StatusOr<std::string> RunAndRead(const ExecPlugin& plugin, const std::string& info, Duration timeout) {
  std::vector<std::string> arguments = {plugin.command};
  arguments.insert(arguments.end(), plugin.args.begin(), plugin.args.end());
  std::vector<std::string> environment = Environment(plugin, info);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::InternalError(StrCat("pipe: ", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  pid_t child = 0;
  const int failure = posix_spawnp(&child, plugin.command.c_str(), &actions, nullptr, Pointers(arguments).data(),
                                   Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failure != 0) {
    close(ends[0]);
    const std::string hint = plugin.install_hint.empty() ? "" : StrCat("\n", plugin.install_hint);
    const std::string message =
        StrCat("credential plugin ", plugin.command, " cannot be started: ", std::strerror(failure), hint);
    return failure == ENOENT ? absl::NotFoundError(message) : absl::FailedPreconditionError(message);
  }
  std::string output;
  const bool complete = ReadAll(ends[0], std::chrono::steady_clock::now() + timeout, output);
  close(ends[0]);
  if (!complete) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!complete) {
    return absl::FailedPreconditionError(StrCat("credential plugin ", plugin.command, " did not end in ",
                                                Seconds(timeout), " s, or printed more than 1 MiB"));
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return absl::FailedPreconditionError(
        StrCat("credential plugin ", plugin.command, " failed with ", WIFEXITED(status) ? "exit code " : "signal ",
               WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), ": run it by hand to see why"));
  }
  return output;
}

}  // namespace

absl::StatusOr<ExecCredential> ParseExecCredential(std::string_view text, const ExecPlugin& plugin, int64_t now_unix) {
  const auto unusable = [&](std::string_view why) {
    return absl::FailedPreconditionError(StrCat("credential plugin ", plugin.command, ": ", why));
  };
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object()) return unusable("what it printed is no JSON object");
  const auto text_of = [](const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (text_of(parsed, "apiVersion") != plugin.api_version) {
    return unusable(
        StrCat("it answered in apiVersion '", text_of(parsed, "apiVersion"), "', not ", plugin.api_version));
  }
  if (!parsed.contains("status") || !parsed["status"].is_object()) return unusable("its answer has no status");
  const json& status = parsed["status"];
  ExecCredential credential;
  credential.token = text_of(status, "token");
  credential.client_certificate_pem = text_of(status, "clientCertificateData");
  credential.client_key_pem = text_of(status, "clientKeyData");
  if (credential.client_certificate_pem.empty() != credential.client_key_pem.empty()) {
    return unusable("its answer has only one of clientCertificateData and clientKeyData");
  }
  if (credential.token.empty() && credential.client_key_pem.empty()) {
    return unusable("its answer has neither a token nor a certificate");
  }
  if (const std::string expires = text_of(status, "expirationTimestamp"); !expires.empty()) {
    absl::Time time;
    std::string error;
    if (!absl::ParseTime(absl::RFC3339_full, expires, &time, &error)) {
      return unusable(StrCat("expirationTimestamp '", expires, "' is no time"));
    }
    credential.valid_for = std::chrono::seconds(absl::ToUnixSeconds(time) - now_unix);
  }
  return credential;
}

absl::StatusOr<ExecCredential> RunExecPlugin(const ExecPlugin& plugin, const ClusterAccess& access, Duration timeout) {
  PATELLA_ASSIGN_OR_RETURN(const std::string info, ExecInfo(plugin, access));
  PATELLA_ASSIGN_OR_RETURN(const std::string output, RunAndRead(plugin, info, timeout));
  return ParseExecCredential(output, plugin, absl::ToUnixSeconds(absl::Now()));
}

}  // namespace patella::kube
