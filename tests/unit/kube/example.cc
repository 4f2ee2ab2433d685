// The example of lib/kube/README.md: labels every ConfigMap that has none with its size. Reads KUBECONFIG; Ctrl-C ends it.
#include <csignal>
#include <iostream>

#include "lib/kube/controller.h"
#include "lib/kube/rest_client.h"

namespace kube = patella::kube;

int main() {
  patella::SteadyClock clock;
  const char* path = std::getenv("KUBECONFIG");
  auto connection = kube::Connect(path == nullptr ? "" : path, clock);  // "" is in the cluster
  if (!connection.ok()) return std::cerr << connection.status().message() << "\n", 1;
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
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  if (const auto started = manager.StartCaches(std::chrono::seconds(30)); !started.ok())
    return std::cerr << started.message() << "\n", 1;
  manager.StartWorkers();
  int signal = 0;
  sigwait(&ends, &signal);
  manager.Stop();
}
