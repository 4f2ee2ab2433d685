// Local mode's executor: makes a Plan true with processes instead of pods.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cli/up/child.h"
#include "cli/up/store.h"
#include "cli/up/view.h"
#include "lib/api/inference_deployment.h"
#include "operator/reconcile/inputs.h"

namespace patella::cli {

struct LocalOptions {
  std::string file;  // the InferenceDeployment
  std::string listen = "127.0.0.1:8080";
  std::string admin = "127.0.0.1:8081";
  std::string programs;               // folder of patella-engine and patella-sidecar; "": beside this executable
  std::function<bool()> interrupted;  // asked often; then whatever is going on ends with Cancelled
  std::function<void(double fraction, const std::string& what)> on_progress;
};

// Starts nothing until Start; stops everything in the destructor. Not thread-safe. Errors are what a user should read: one message that names
// the thing and the remedy. Their codes: InvalidArgument and NotFound (file, flag, model), Unavailable (a process ended), OutOfRange (target
// impossible), Aborted (too noisy), DeadlineExceeded, Cancelled (interrupted).
class LocalDeployment {
 public:
  static absl::StatusOr<std::unique_ptr<LocalDeployment>> Prepare(
      LocalOptions options);  // reads, checks, resolves; no process yet
  ~LocalDeployment();

  absl::Status Start();                          // engine, then sidecar
  absl::StatusOr<SidecarView> WaitUntilReady();  // through warm-up, ramp and verification
  absl::Status CheckAlive();                     // Unavailable if a process has ended
  absl::StatusOr<SidecarView> View() const;
  void Stop(Duration grace);  // sidecar first, so that clients are told; then the engine; then the folder

  const api::InferenceDeployment& deployment() const { return inputs_.deployment; }
  const std::string& listen() const { return inputs_.placement.listen; }
  const std::string& admin() const { return inputs_.placement.admin; }
  const std::string& control_socket() const { return inputs_.placement.control_socket; }
  int engine_port() const { return inputs_.placement.engine_port; }
  const std::string& log_folder() const { return log_folder_; }

 private:
  explicit LocalDeployment(LocalOptions options) : options_(std::move(options)) {}
  absl::Status MakeFolders();
  // `more`: "NAME=value", wins over what the plan says.
  absl::StatusOr<std::unique_ptr<Child>> StartContainer(const std::string& name, const std::vector<std::string>& more);
  absl::Status WaitForEngine();
  absl::Status Ended(const std::string& name, Child& child, const std::string& during);
  absl::Status SidecarEnded(const std::string& last_error);
  void Show(double fraction, const std::string& what);
  bool Pause();  // 100 ms; false if interrupted

  LocalOptions options_;
  reconcile::Inputs inputs_;
  std::string programs_, run_folder_, log_folder_;
  std::unique_ptr<LocalStore> store_;
  std::unique_ptr<Child> engine_, sidecar_;
};

}  // namespace patella::cli
