// What a C++ test needs of the control plane that CTest started for it: where it is, kubectl, and a namespace of its
// own.
//
//   TEST(MyControllerTest, MakesTheChild) {
//     TestNamespace ns;                                     // deleted with all that is in it at the end of the scope
//     ns.Kubectl({"apply", "-f", "-"}, manifest);           // fails the test and returns "" when kubectl fails
//     MyClient client(AdminKubeconfig(), ns.name());
//     Eventually([&] { return ns.Kubectl({"get", "deployment", "x", "-o", "name"}) != ""; });
//   }
//
// Header only; blocking; any thread.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace patella::integration {

// A variable of the test's environment (tests/integration/README.md lists them); ends the program when the test runs
// outside CTest without it.
inline std::string Setting(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') {
    std::fprintf(
        stderr, "%s is not set: run this test through ctest, or `tests/cluster/control_plane.py run DIR TEST`\n", name);
    std::_Exit(2);
  }
  return value;
}

inline std::string AdminKubeconfig() { return Setting("PATELLA_KUBECONFIG"); }
inline std::string UserKubeconfig() { return Setting("PATELLA_USER_KUBECONFIG"); }

struct KubectlResult {
  int exit_code;
  std::string out;  // stdout and stderr
};

// Runs kubectl as admin (or with another kubeconfig) and waits for it.
inline KubectlResult RunKubectl(const std::vector<std::string>& arguments, const std::string& input = "",
                                const std::string& kubeconfig = AdminKubeconfig()) {
  auto quote = [](const std::string& text) {
    std::string quoted = "'";
    for (char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
    return quoted + "'";
  };
  std::string command = quote(Setting("PATELLA_KUBECTL")) + " --kubeconfig " + quote(kubeconfig);
  for (const std::string& argument : arguments) command += " " + quote(argument);
  char path[] = "/tmp/patella-kubectl-XXXXXX";
  int file = mkstemp(path);
  if (file < 0) return {-1, "mkstemp failed"};
  close(file);
  std::ofstream(path) << input;
  command += " 2>&1 <" + quote(path);
  KubectlResult result{-1, ""};
  if (FILE* pipe = popen(command.c_str(), "r")) {
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) result.out.append(buffer, n);
    int status = pclose(pipe);
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  unlink(path);
  return result;
}

class TestNamespace {
 public:
  TestNamespace() {
    static int count = 0;
    name_ = "test-" + std::to_string(getpid()) + "-" + std::to_string(++count);
    Kubectl({"create", "namespace", name_});
  }
  TestNamespace(const TestNamespace&) = delete;
  TestNamespace& operator=(const TestNamespace&) = delete;
  ~TestNamespace() { RunKubectl({"delete", "namespace", name_, "--wait=false"}); }

  const std::string& name() const { return name_; }

  // kubectl in this namespace as admin; a failure fails the test.
  std::string Kubectl(std::vector<std::string> arguments, const std::string& input = "") const {
    arguments.insert(arguments.begin(), {"--namespace", name_});
    KubectlResult result = RunKubectl(arguments, input);
    EXPECT_EQ(result.exit_code, 0) << "kubectl " << testing::PrintToString(arguments) << ":\n" << result.out;
    return result.exit_code == 0 ? result.out : "";
  }

 private:
  std::string name_;
};

// Polls until `what` holds; false (and a failed test) when it does not within the bound.
inline bool Eventually(const std::function<bool()>& what, std::chrono::seconds bound = std::chrono::seconds(30)) {
  for (auto end = std::chrono::steady_clock::now() + bound; std::chrono::steady_clock::now() < end;) {
    if (what()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ADD_FAILURE() << "did not become true within " << bound.count() << " s";
  return false;
}

}  // namespace patella::integration
