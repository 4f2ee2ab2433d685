// The example of lib/kube/README.md: labels every ConfigMap that has none with its size. Reads KUBECONFIG; Ctrl-C ends it.
// README.md shows what is between its two marks, word for word (check_readme.py).
#include <csignal>
#include <iostream>

#include "lib/kube/controller.h"
#include "lib/kube/rest_client.h"

namespace kube = patella::kube;

namespace {

int Fail(const absl::Status& status) {
  std::cerr << status.message() << "\n";
  return 1;
}

}  // namespace

int main() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  const char* variable = std::getenv("KUBECONFIG");
  const std::string path = variable == nullptr ? "" : variable;
  patella::SteadyClock clock;
  // README begins
  auto connection = kube::Connect(path, clock);  // a kubeconfig's path; "" is in the cluster
  if (!connection.ok()) return Fail(connection.status());
  kube::Client& client = *connection->client;

  kube::Manager manager(&client, clock);
  kube::Cache& maps = manager.Watch(kube::kConfigMaps);
  auto& controller =
      manager.AddController({.name = "size"}, [&](const kube::ObjectKey& key) -> absl::StatusOr<kube::ReconcileResult> {
        const kube::ObjectPtr map = maps.Get(key);
        if (map == nullptr || !map->label("example/size").empty()) return kube::ReconcileResult{};
        const std::string patch =
            R"({"metadata":{"labels":{"example/size":")" + std::to_string(map->json().size()) + R"("}}})";
        const auto written = client.MergePatch(kube::kConfigMaps, key.namespace_name, key.name, patch);
        if (!written.ok()) return written.status();  // comes back with back-off
        return kube::ReconcileResult{};
      });
  controller.ReconcileOn(maps);
  if (const auto started = manager.StartCaches(std::chrono::seconds(30)); !started.ok()) return Fail(started);
  manager.StartWorkers();
  // README ends
  int signal = 0;
  sigwait(&ends, &signal);
  manager.Stop();
}
