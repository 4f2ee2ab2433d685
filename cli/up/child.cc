#include "cli/up/child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "lib/base/text.h"

extern char** environ;

namespace patella::cli {
namespace {

constexpr std::streamoff kMaxLogBytes = 1 << 20;

std::vector<std::string> Environment(const std::vector<std::string>& own) {
  std::map<std::string, std::string, std::less<>> merged;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string entry = *e;
    merged[entry.substr(0, entry.find('='))] = entry;
  }
  for (const std::string& entry : own) merged[entry.substr(0, entry.find('='))] = entry;
  std::vector<std::string> out;
  for (const auto& [name, entry] : merged) out.push_back(entry);
  return out;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

// Between fork and exec: async-signal-safe calls only. Tells the parent over `report` what failed.
[[noreturn]] void BecomeProgram(const char* program, char** argv, char** envp, int log, int report, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(125);  // the parent died before prctl
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = open("/dev/null", O_RDONLY);
  if (null >= 0) dup2(null, STDIN_FILENO);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execve(program, argv, envp);
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(report, &error, sizeof error);
  _exit(127);
}

absl::Status LogError(const std::string& path) {
  return absl::InvalidArgumentError(
      StrCat(path, ": cannot be written (", std::strerror(errno), "): set PATELLA_CACHE to a folder that can"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Child>> Child::Start(const ChildOptions& options) {
  const int log = open(options.log_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return LogError(options.log_path);
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) {
    close(log);
    return absl::ResourceExhaustedError(StrCat("cannot make a pipe: ", std::strerror(errno)));
  }
  std::vector<std::string> arguments = {options.program};
  arguments.insert(arguments.end(), options.args.begin(), options.args.end());
  std::vector<std::string> environment = Environment(options.environment);
  std::vector<char*> argv = Pointers(arguments), envp = Pointers(environment);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeProgram(options.program.c_str(), argv.data(), envp.data(), log, report[1], parent);
  const int fork_error = errno;
  close(log);
  close(report[1]);
  int error = pid < 0 ? fork_error : 0;
  if (pid > 0 && read(report[0], &error, sizeof error) != sizeof error) error = 0;
  close(report[0]);
  if (error != 0) {
    if (pid > 0) waitpid(pid, nullptr, 0);
    return absl::InvalidArgumentError(StrCat(options.program, ": cannot be started: ", std::strerror(error)));
  }
  setpgid(pid, pid);  // whoever comes first; a signal to the group must find it
  return std::unique_ptr<Child>(new Child(pid, options.log_path));
}

Child::~Child() { Stop(Duration::zero()); }

std::optional<int> Child::ExitCode() {
  if (exit_code_) return exit_code_;
  int status = 0;
  const pid_t got = waitpid(pid_, &status, WNOHANG);
  if (got == pid_) exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (got < 0 && errno == ECHILD) exit_code_ = 255;
  return exit_code_;
}

std::optional<int> Child::WaitFor(Duration at_most) {
  const TimePoint end = SteadyClock().Now() + at_most;
  while (!ExitCode() && SteadyClock().Now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  return ExitCode();
}

void Child::Signal(int signal) {
  if (ExitCode()) return;
  if (kill(-pid_, signal) != 0) kill(pid_, signal);
}

void Child::Terminate() { Signal(SIGTERM); }

void Child::Stop(Duration grace) {
  if (!ExitCode() && grace > Duration::zero()) {
    Signal(SIGTERM);
    WaitFor(grace);
  }
  if (!ExitCode()) {
    Signal(SIGKILL);
    int status = 0;
    if (waitpid(pid_, &status, 0) == pid_)
      exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  kill(-pid_, SIGKILL);  // what the program itself started
}

std::string Child::Log() const {
  std::ifstream file(log_path_, std::ios::binary | std::ios::ate);
  const std::streamoff size = file.tellg();
  if (size > kMaxLogBytes) {
    file.seekg(size - kMaxLogBytes);
  } else {
    file.seekg(0);
  }
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

std::string Child::LastLines(int lines) const {
  const std::string log = Log();
  std::vector<std::string_view> all = Split(log, '\n');
  std::erase_if(all, [](std::string_view line) { return Strip(line).empty(); });
  std::string out;
  for (size_t i = all.size() > static_cast<size_t>(lines) ? all.size() - static_cast<size_t>(lines) : 0; i < all.size();
       ++i) {
    StrAppend(&out, out.empty() ? "" : "\n", "  ", all[i].substr(0, 500));
  }
  return out;
}

}  // namespace patella::cli
