// patella-sidecar: stands before one inference engine, finds how many requests it should serve at once, and holds it there.
#include <csignal>
#include <iostream>

#include "lib/base/logging.h"
#include "sidecar/app/config.h"
#include "sidecar/app/sidecar.h"

namespace {

constexpr std::string_view kSummary =
    "Stands before one inference engine, finds its latency-throughput knee and caps concurrency there.\n"
    "Exit codes: 0 ended as asked, 1 internal error or a taken port, 2 wrong settings, 3 a target cannot be met,\n"
    "4 the engine is gone, 5 the machine is too noisy to measure.";

}  // namespace

int main(int argc, char** argv) {
  using namespace patella;
  const auto settings = Settings::Parse(sidecar::SidecarSettings(), argc, argv);
  if (!settings.ok()) {
    std::cerr << "patella-sidecar: " << settings.status().message() << "\n";
    return 2;
  }
  if (settings->help_requested()) {
    std::cout << SettingsHelp("patella-sidecar", kSummary, sidecar::SidecarSettings());
    return 0;
  }
  if (const absl::Status status = SetLogLevel(settings->String("LOG_LEVEL")); !status.ok()) {
    std::cerr << "patella-sidecar: " << status.message() << "\n";
    return 2;
  }
  auto config = sidecar::ParseConfig(*settings);
  if (!config.ok()) {
    std::cerr << "patella-sidecar: " << config.status().message() << "\n";
    return 2;
  }
  http::Loop loop;
  int exit_code = 0;
  auto started = sidecar::Sidecar::Start(loop, *std::move(config), [&](int code) {
    exit_code = code;
    loop.Stop();
  });
  if (!started.ok()) {
    std::cerr << "patella-sidecar: " << started.status().message() << "\n";
    return 1;
  }
  loop.OnSignals({SIGINT, SIGTERM}, [&](int) { (*started)->Drain(); });
  loop.Run();
  return exit_code;
}
