// One child process in a process group of its own, whose output goes to a file.
//
// The kernel kills it if the thread that started it dies, so nothing outlives `patella`. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/clock.h"

namespace patella::cli {

struct ChildOptions {
  std::string program;                   // path
  std::vector<std::string> args;         // without the program's own name
  std::vector<std::string> environment;  // "NAME=value", on top of ours
  std::string log_path;                  // truncated; its folder exists
};

class Child {
 public:
  static absl::StatusOr<std::unique_ptr<Child>> Start(const ChildOptions& options);
  ~Child();  // kills what still runs

  pid_t pid() const { return pid_; }
  const std::string& log_path() const { return log_path_; }

  // Empty while it runs; then its exit code, or 128 + signal.
  std::optional<int> ExitCode();
  std::optional<int> WaitFor(Duration at_most);  // looks every 20 ms

  // SIGTERM to the group, SIGKILL if it has not ended in `grace`. Returns when the process is gone.
  void Stop(Duration grace);
  void Terminate();  // SIGTERM alone

  std::string Log() const;  // all of the log file, at most its last MiB
  std::string LastLines(int lines) const;

 private:
  Child(pid_t pid, std::string log_path) : pid_(pid), log_path_(std::move(log_path)) {}
  void Signal(int signal);

  pid_t pid_;
  std::string log_path_;
  std::optional<int> exit_code_;
};

}  // namespace patella::cli
