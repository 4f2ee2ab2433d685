#include <unistd.h>

#include <iostream>
#include <map>
#include <memory>
#include <thread>

#include "cli/bench/options.h"
#include "cli/bench/output.h"
#include "cli/bench/progress.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/up/local.h"
#include "cli/up/ports.h"
#include "lib/base/text.h"

namespace patella::cli {
namespace {

constexpr auto kGrace = std::chrono::seconds(8);  // for each process, after SIGTERM

// Name and address of all that answers once the deployment is Ready.
std::map<std::string, std::string> UrlsOf(const LocalDeployment& local) {
  const std::string admin = UrlOf(local.admin());
  return {{"clients", UrlOf(local.listen())},
          {"status_page", StrCat(admin, "/")},
          {"metrics", StrCat(admin, "/metrics")},
          {"healthz", StrCat(admin, "/healthz")},
          {"readyz", StrCat(admin, "/readyz")}};
}

std::string UrlsText(const LocalDeployment& local) {
  const std::map<std::string, std::string> urls = UrlsOf(local);
  const std::string& model = local.deployment().spec.model.name;
  return StrCat("clients      ", urls.at("clients"), "  (TGI's routes, OpenAI's /v1, SageMaker's)\n", "status page  ",
                urls.at("status_page"), "\n", "metrics      ", urls.at("metrics"), "   health ", urls.at("healthz"),
                "   ready ", urls.at("readyz"), "\n", "logs         ", local.log_folder(), "\n\n", "  curl ",
                urls.at("clients"),
                "/v1/chat/completions -H 'Content-Type: application/json' \\\n    -d '{\"model\": \"", model,
                "\", \"messages\": [{\"role\": \"user\", \"content\": \"What is a knee?\"}], \"max_tokens\": 64}'\n\n",
                "Ctrl-C stops it.\n");
}

absl::Status Serve(LocalDeployment& local) {
  while (!Interrupted()) {
    if (absl::Status status = local.CheckAlive(); !status.ok()) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  return absl::OkStatus();
}

absl::Status RunUp(LocalOptions options, bool as_json) {
  CatchInterrupts();
  auto progress = std::make_unique<Progress>();
  options.interrupted = Interrupted;
  options.on_progress = [&progress](double fraction, const std::string& what) { progress->Show(fraction, what); };
  absl::StatusOr<std::unique_ptr<LocalDeployment>> local = LocalDeployment::Prepare(std::move(options));
  if (!local.ok()) return local.status();
  absl::Status status = (*local)->Start();
  if (status.ok()) {
    absl::StatusOr<SidecarView> view = (*local)->WaitUntilReady();
    progress.reset();
    status = view.status();
    if (status.ok()) {
      Report report = ReportOf(*view, (*local)->deployment());
      if (as_json) {
        report.urls = UrlsOf(**local);
        std::cout << ToJson(report) << std::flush;
      } else {
        std::cout << ToText(report, isatty(STDOUT_FILENO) != 0) << "\n" << UrlsText(**local) << std::flush;
      }
      status = Serve(**local);
      if (status.ok()) std::cerr << "stopping\n";
    }
  }
  progress.reset();
  (*local)->Stop(kGrace);
  return status;
}

}  // namespace

CLI::App* AddUp(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<LocalOptions>();
  auto output = std::make_shared<std::string>("table");
  CLI::App* up = app.add_subcommand(
      "up", "Serve a model on this machine behind a tuned limit, from the YAML that a cluster takes");
  up->footer(
      "Starts patella-engine and patella-sidecar as processes of this one, finds the limit that holds the targets, "
      "prints what it measured, then\n"
      "serves until Ctrl-C.\n\n"
      "spec.model.uri: file:///models/x.gguf is that file, file://./x.gguf lies beside the YAML, file://x.gguf in "
      "${PATELLA_CACHE}/models\n"
      "(~/.cache/patella/models; tools/fetch_model.sh puts the sample's there). pvc://, image:// and hf:// need a "
      "cluster.\n\n"
      "  patella up -f deploy/samples/smollm2.yaml\n"
      "  patella up -f deploy/samples/smollm2.yaml --listen 0.0.0.0:8000 --admin 127.0.0.1:9000\n"
      "  patella up -f deploy/samples/smollm2.yaml --output json   # limit, points, knees, urls; then serves");
  up->add_option("-f,--file", options->file, "an InferenceDeployment, YAML or JSON")->required();
  up->add_option("--listen", options->listen, "address for clients; port 0: chosen by the kernel")
      ->capture_default_str();
  up->add_option("--admin", options->admin, "address for metrics, health and the status page")->capture_default_str();
  up->add_option("--programs", options->programs,
                 "folder of patella-engine and patella-sidecar; default: beside this program");
  up->add_option("--output", *output, "what is printed once ready: table, or json (one object; then it serves)")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  up->callback([options, output, exit_code] {
    const absl::Status status = RunUp(*options, *output == "json");
    *exit_code = status.ok() ? kOk : Fail(status);
  });
  return up;
}

}  // namespace patella::cli
