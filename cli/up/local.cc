#include "cli/up/local.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "cli/exit_code.h"
#include "cli/own_command.h"
#include "cli/up/model.h"
#include "cli/up/ports.h"
#include "lib/api/parse.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/http/client.h"

namespace patella::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kLastLines = 6;
constexpr int kDrainSeconds = 5;  // Ctrl-C at a terminal does not wait two minutes
constexpr double kEngineStartSeconds = 600;
constexpr size_t kMaxSocketPath = 100;  // sun_path holds 108

std::string OwnFolder() {
  const fs::path self = OwnProgram();
  return self.empty() ? "." : self.parent_path().string();
}

absl::Status InterruptedError() { return absl::CancelledError("interrupted"); }

// "listening on http://127.0.0.1:PORT" in an engine's log; 0 if it is not there yet.
int PortInLog(const std::string& log) {
  constexpr std::string_view kMark = "listening on http://";
  const size_t at = log.find(kMark);
  if (at == std::string::npos) return 0;
  const size_t end = log.find_first_of(" \r\n/", at + kMark.size());
  if (end == std::string::npos) return 0;
  const std::string address = log.substr(at + kMark.size(), end - at - kMark.size());
  int64_t port = 0;
  const size_t colon = address.rfind(':');
  return colon != std::string::npos && ParseInt(address.substr(colon + 1), &port) ? static_cast<int>(port) : 0;
}

std::string ProgressText(const SidecarView& view) {
  if (view.state == "Boot" || view.state.empty()) return "waiting for the engine";
  std::string text = view.phase.empty() ? ToLower(view.state) : view.phase;
  if (view.concurrency > 0) StrAppend(&text, ": ", view.concurrency, " at once");
  if (view.gap_ms > 0) StrAppend(&text, ", ", Number(view.gap_ms), " ms a token");
  return text;
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalDeployment>> LocalDeployment::Prepare(LocalOptions options) {
  std::unique_ptr<LocalDeployment> local(new LocalDeployment(std::move(options)));
  const LocalOptions& given = local->options_;
  reconcile::Inputs& inputs = local->inputs_;
  PATELLA_ASSIGN_OR_RETURN(inputs.deployment, api::ParseOneDeployment(given.file));
  if (inputs.deployment.spec.engine.type != api::EngineType::kPatella) {
    return absl::InvalidArgumentError(
        StrCat("spec.engine.type: `patella up` starts Patella's own engine only; for a running ",
               api::NameOf(inputs.deployment.spec.engine.type), " server use `patella tune URL`"));
  }
  inputs.deployment.spec.replicas = 1;
  inputs.deployment.spec.drain_max_seconds = std::min(inputs.deployment.spec.drain_max_seconds, kDrainSeconds);
  inputs.placement.local = true;
  PATELLA_ASSIGN_OR_RETURN(inputs.placement.model_path, ResolveModel(inputs.deployment.spec.model.uri, given.file));
  PATELLA_ASSIGN_OR_RETURN(inputs.placement.listen, CheckAddress("--listen", given.listen));
  PATELLA_ASSIGN_OR_RETURN(inputs.placement.admin, CheckAddress("--admin", given.admin));
  if (inputs.placement.listen == inputs.placement.admin) {
    return absl::InvalidArgumentError(StrCat("--listen and --admin are both ", given.listen, ": choose two ports"));
  }
  local->programs_ = given.programs.empty() ? OwnFolder() : given.programs;
  for (const char* program : {"patella-engine", "patella-sidecar"}) {
    const std::string path = StrCat(local->programs_, "/", program);
    if (access(path.c_str(), X_OK) != 0)
      return absl::NotFoundError(StrCat(path, ": not there: build it with `make programs`"));
  }
  if (inputs.deployment.spec.paused) {
    return absl::InvalidArgumentError("spec.paused is true: there is nothing to serve until it is false");
  }
  return local;
}

LocalDeployment::~LocalDeployment() { Stop(Duration::zero()); }

absl::Status LocalDeployment::MakeFolders() {
  log_folder_ = StrCat(CacheFolder(), "/logs/", inputs_.deployment.metadata.name);
  std::error_code error;
  fs::create_directories(log_folder_, error);
  if (error)
    return absl::InvalidArgumentError(StrCat(log_folder_, ": cannot be made (", error.message(),
                                             "): set PATELLA_CACHE to a folder that can be written"));
  const char* tmp = std::getenv("TMPDIR");
  std::string pattern = StrCat(tmp != nullptr && *tmp != '\0' ? tmp : "/tmp", "/patella-XXXXXX");
  if (pattern.size() + 16 > kMaxSocketPath) pattern = "/tmp/patella-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr)
    return absl::InvalidArgumentError(StrCat(pattern, ": cannot be made: set TMPDIR to a folder that can be written"));
  run_folder_ = pattern;
  inputs_.placement.control_socket = StrCat(run_folder_, "/engine.sock");
  inputs_.placement.state_dir = run_folder_;
  inputs_.placement.engine_port = 0;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Child>> LocalDeployment::StartContainer(const std::string& name,
                                                                       const std::vector<std::string>& more) {
  PATELLA_ASSIGN_OR_RETURN(ContainerStart start, store_->Container(name));
  start.environment.insert(start.environment.end(), more.begin(), more.end());
  return Child::Start({.program = StrCat(programs_, "/patella-", name),
                       .args = std::move(start.args),
                       .environment = std::move(start.environment),
                       .log_path = StrCat(log_folder_, "/", name, ".log")});
}

absl::Status LocalDeployment::Start() {
  PATELLA_RETURN_IF_ERROR(MakeFolders());
  PATELLA_ASSIGN_OR_RETURN(store_, LocalStore::Start(inputs_.deployment, inputs_.placement));
  Show(0, StrCat("starting the engine: loading ", inputs_.placement.model_path));
  PATELLA_ASSIGN_OR_RETURN(engine_, StartContainer("engine", {}));
  PATELLA_RETURN_IF_ERROR(WaitForEngine());
  Show(0.05, "starting the sidecar");
  // In a pod the engine's port is fixed; here the kernel chose it.
  const reconcile::Placement& place = inputs_.placement;
  PATELLA_ASSIGN_OR_RETURN(
      sidecar_, StartContainer("sidecar", {StrCat("ENGINE_URL=http://", place.engine_host, ":", place.engine_port)}));
  store_->ReportPod(/*ready=*/false);
  return absl::OkStatus();
}

absl::Status LocalDeployment::WaitForEngine() {
  const TimePoint end = SteadyClock().Now() + FromSeconds(kEngineStartSeconds);
  while (true) {
    const bool ended = engine_->ExitCode().has_value();
    inputs_.placement.engine_port = PortInLog(engine_->Log());
    if (ended) return Ended("engine", *engine_, "while it started");
    if (inputs_.placement.engine_port != 0) return absl::OkStatus();
    if (SteadyClock().Now() > end) {
      return absl::DeadlineExceededError(StrCat("the engine has not begun to listen after ", kEngineStartSeconds,
                                                " s; its log: ", engine_->log_path()));
    }
    if (!Pause()) return InterruptedError();
  }
}

absl::StatusOr<SidecarView> LocalDeployment::WaitUntilReady() {
  const double budget_s = 60 + 4.0 * inputs_.deployment.spec.tuning.max_calibration_seconds;
  const TimePoint end = SteadyClock().Now() + FromSeconds(budget_s);
  std::string last_error;
  while (SteadyClock().Now() < end) {
    if (const absl::StatusOr<SidecarView> view = View(); view.ok()) {
      if (view->state == "Ready" && view->limit > 0) return store_->ReportPod(/*ready=*/true), *view;
      if (!view->error.empty()) last_error = view->error;
      Show(0.05 + 0.95 * view->fraction, ProgressText(*view));
    }
    if (sidecar_->ExitCode()) return SidecarEnded(last_error);
    if (engine_->ExitCode()) return Ended("engine", *engine_, "during the calibration");
    if (!Pause()) return InterruptedError();
  }
  return absl::DeadlineExceededError(StrCat("no limit found after ", Number(budget_s), " s",
                                            last_error.empty() ? "" : ": ", last_error,
                                            "; the sidecar's log: ", sidecar_->log_path()));
}

absl::StatusOr<SidecarView> LocalDeployment::View() const {
  const absl::StatusOr<http::Response> answer =
      http::Fetch(StrCat(UrlOf(admin()), "/status.json"), {}, std::chrono::seconds(1));
  if (!answer.ok()) return answer.status();
  if (answer->status != 200) return absl::UnavailableError(StrCat("/status.json answered ", answer->status));
  return ParseView(answer->body);
}

absl::Status LocalDeployment::CheckAlive() {
  if (engine_ != nullptr && engine_->ExitCode()) return Ended("engine", *engine_, "while it served");
  if (sidecar_ != nullptr && sidecar_->ExitCode()) return Ended("sidecar", *sidecar_, "while it served");
  return absl::OkStatus();
}

absl::Status LocalDeployment::Ended(const std::string& name, Child& child, const std::string& during) {
  const int code = *child.ExitCode();
  const std::string how =
      code > 128 ? StrCat("was killed by signal ", code - 128) : StrCat("ended with exit code ", code);
  const std::string message = StrCat("the ", name, " ", how, " ", during, "; its last words:\n",
                                     child.LastLines(kLastLines), "\nlog: ", child.log_path());
  return code == kUsage ? absl::InvalidArgumentError(message)
                        : absl::UnavailableError(message);  // 2: wrong settings or model, in all programs
}

absl::Status LocalDeployment::SidecarEnded(const std::string& last_error) {
  // An engine that died takes the sidecar with it: name the cause.
  if (engine_->WaitFor(std::chrono::milliseconds(500))) return Ended("engine", *engine_, "during the calibration");
  const std::string why = last_error.empty() ? sidecar_->LastLines(kLastLines) : last_error;
  const std::string message =
      StrCat(last_error.empty() ? "the calibration failed:\n" : "", why, "\nlog: ", sidecar_->log_path());
  switch (*sidecar_->ExitCode()) {  // sidecar/tuner/view.h
    case 3:
      return absl::OutOfRangeError(message);
    case 4:
      return absl::UnavailableError(message);
    case 5:
      return absl::AbortedError(message);
    default:
      return Ended("sidecar", *sidecar_, "during the calibration");
  }
}

void LocalDeployment::Stop(Duration grace) {
  if (sidecar_ != nullptr) sidecar_->Stop(grace);
  if (engine_ != nullptr) engine_->Stop(grace);
  sidecar_.reset();
  engine_.reset();
  std::error_code ignored;
  if (!run_folder_.empty()) fs::remove_all(run_folder_, ignored);
  run_folder_.clear();
}

void LocalDeployment::Show(double fraction, const std::string& what) {
  if (options_.on_progress) options_.on_progress(fraction, what);
}

bool LocalDeployment::Pause() {
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  return !(options_.interrupted && options_.interrupted());
}

}  // namespace patella::cli
