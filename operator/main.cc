// patella-operator: turns InferenceDeployments of a Kubernetes cluster into the objects that serve them.
#include <iostream>

#include "lib/base/logging.h"
#include "lib/kube/transport.h"
#include "operator/app/config.h"
#include "operator/app/program.h"

namespace {

constexpr std::string_view kSummary =
    "Turns InferenceDeployments into Deployments, Services and the rest of what serves them, and keeps them so.\n"
    "Run two of it: one works, the other stands by with full caches.\n"
    "Exit codes: 0 ended as asked, 1 internal error or a lost lease, 2 wrong settings or no cluster.";

}  // namespace

int main(int argc, char** argv) {
  using namespace patella;
  kube::InitTransport();
  const auto settings = Settings::Parse(controller::OperatorSettings(), argc, argv);
  if (!settings.ok()) {
    std::cerr << "patella-operator: " << settings.status().message() << "\n";
    return 2;
  }
  if (settings->help_requested()) {
    std::cout << SettingsHelp("patella-operator", kSummary, controller::OperatorSettings());
    return 0;
  }
  if (const absl::Status status = SetLogLevel(settings->String("LOG_LEVEL")); !status.ok()) {
    std::cerr << "patella-operator: " << status.message() << "\n";
    return 2;
  }
  const auto config = controller::ParseConfig(*settings);
  if (!config.ok()) {
    std::cerr << "patella-operator: " << config.status().message() << "\n";
    return 2;
  }
  const absl::Status status = controller::Run(*config, PATELLA_VERSION);
  if (status.ok()) return 0;
  std::cerr << "patella-operator: " << status.message() << "\n";
  const bool usage = absl::IsInvalidArgument(status) || absl::IsNotFound(status) || absl::IsFailedPrecondition(status);
  return usage ? 2 : 1;
}
