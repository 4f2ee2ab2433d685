// `patella up` as a whole, with stand-ins for engine and sidecar (testdata/programs).
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "cli/exit_code.h"
#include "cli/up/child.h"
#include "lib/base/text.h"

namespace patella::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kLong = std::chrono::seconds(60);

class UpTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "up_test.XXXXXX";
    folder_ = mkdtemp(pattern.data());
    for (const char* sub : {"tmp", "pids", "cache"}) fs::create_directories(folder_ / sub);
    fs::create_directories(folder_ / "cache" / "models");
    std::ofstream(folder_ / "cache" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf") << "GGUF";
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::unique_ptr<Child> Up(std::vector<std::string> environment = {}, std::string listen = "127.0.0.1:0",
                            std::string file = "") {
    ChildOptions options;
    options.program = PATELLA_PROGRAM;
    options.args = {"up",          "-f",         file.empty() ? PATELLA_SAMPLES "/smollm2.yaml" : file,
                    "--listen",    listen,       "--admin",
                    "127.0.0.1:0", "--programs", PATELLA_TEST_DATA "/programs"};
    options.environment = std::move(environment);
    options.environment.push_back("TMPDIR=" + (folder_ / "tmp").string());
    options.environment.push_back("PATELLA_CACHE=" + (folder_ / "cache").string());
    options.environment.push_back("STUB_PIDS=" + (folder_ / "pids").string());
    options.environment.push_back("STUB_DIE_FILE=" + (folder_ / "die").string());
    options.log_path = (folder_ / "up.log").string();
    auto child = Child::Start(options);
    EXPECT_TRUE(child.ok()) << child.status();
    return *std::move(child);
  }

  static bool WaitForText(Child& child, const std::string& text) {
    const TimePoint end = SteadyClock().Now() + kLong;
    while (SteadyClock().Now() < end && !child.ExitCode()) {
      if (child.Log().find(text) != std::string::npos) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return child.Log().find(text) != std::string::npos;
  }

  // Started processes by their pid files, all of which must be gone.
  void ExpectNothingLeft(int started) {
    int seen = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / "pids")) {
      int64_t pid = 0;
      if (!ParseInt(entry.path().extension().string().substr(1), &pid)) continue;
      ++seen;
      EXPECT_NE(kill(static_cast<pid_t>(pid), 0), 0) << entry.path() << " still runs";
    }
    EXPECT_EQ(seen, started);
    EXPECT_TRUE(fs::is_empty(folder_ / "tmp")) << "a temporary folder is left";
  }

  fs::path folder_;
};

TEST_F(UpTest, TheLimitIsPrintedAndCtrlCLeavesNothingBehind) {
  auto up = Up();
  ASSERT_TRUE(WaitForText(*up, "Ctrl-C stops it.")) << up->Log();
  EXPECT_THAT(up->Log(), HasSubstr("limit 11: bound by the target for time per output token, confidence high"));
  EXPECT_THAT(up->Log(), HasSubstr("R(c) = 5"));
  EXPECT_THAT(up->Log(), ContainsRegex("→ LatencyTarget +19.4 "));
  EXPECT_THAT(up->Log(), ContainsRegex("  Timeout +208 "));
  EXPECT_THAT(up->Log(), HasSubstr("/metrics"));
  EXPECT_FALSE(fs::is_empty(folder_ / "tmp"));
  kill(up->pid(), SIGINT);
  EXPECT_EQ(up->WaitFor(kLong), kOk) << up->Log();
  ExpectNothingLeft(2);
}

TEST_F(UpTest, TheSidecarGetsTheEnginesPortAndThePlansSettings) {
  auto up = Up();
  ASSERT_TRUE(WaitForText(*up, "Ctrl-C stops it.")) << up->Log();
  std::stringstream environment;
  environment << std::ifstream(folder_ / "pids" / "sidecar.env").rdbuf();
  EXPECT_THAT(environment.str(), HasSubstr("ENGINE_URL=http://127.0.0.1:"));
  EXPECT_THAT(environment.str(), Not(HasSubstr("ENGINE_URL=http://127.0.0.1:0\n")));
  EXPECT_THAT(environment.str(), HasSubstr("WORKLOAD_INPUT_TOKENS=128"));
  EXPECT_THAT(environment.str(), HasSubstr("\"metric\":\"TimePerOutputToken\""));
  up->Terminate();
  EXPECT_EQ(up->WaitFor(kLong), kOk);
}

TEST_F(UpTest, AnEngineThatCannotStartIsNamedWithItsLastWords) {
  auto up = Up({"STUB_ENGINE=dies"});
  EXPECT_EQ(up->WaitFor(kLong), kUnreachable);
  EXPECT_THAT(up->Log(), HasSubstr("the engine ended with exit code 1 while it started"));
  EXPECT_THAT(up->Log(), HasSubstr("the download is incomplete"));
  ExpectNothingLeft(1);
}

TEST_F(UpTest, AnEngineThatDiesDuringTheRampIsNamed) {
  auto up = Up({"STUB_ENGINE=dies-later", "STUB_SIDECAR=ramping"});
  EXPECT_EQ(up->WaitFor(kLong), kUnreachable);
  EXPECT_THAT(up->Log(), HasSubstr("the engine ended with exit code 1 during the calibration"));
  EXPECT_THAT(up->Log(), HasSubstr("out of memory"));
  ExpectNothingLeft(2);
}

TEST_F(UpTest, AnImpossibleTargetHasItsOwnExitCode) {
  auto up = Up({"STUB_SIDECAR=impossible"});
  EXPECT_EQ(up->WaitFor(kLong), kTargetImpossible) << up->Log();
  EXPECT_THAT(up->Log(), HasSubstr("one request alone takes 61 ms a token, the target is 50"));
  ExpectNothingLeft(2);
}

TEST_F(UpTest, ANoisyMachineHasItsOwnExitCode) {
  auto up = Up({"STUB_SIDECAR=noisy"});
  EXPECT_EQ(up->WaitFor(kLong), kTooNoisy) << up->Log();
  ExpectNothingLeft(2);
}

TEST_F(UpTest, ATakenPortIsAClearError) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof in;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&in), size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  getsockname(fd, reinterpret_cast<sockaddr*>(&in), &size);
  const std::string address = StrCat("127.0.0.1:", ntohs(in.sin_port));
  auto up = Up({}, address);
  EXPECT_EQ(up->WaitFor(kLong), kUsage);
  EXPECT_THAT(up->Log(), HasSubstr(StrCat("--listen ", address, ": something else listens there already")));
  ExpectNothingLeft(0);
  close(fd);
}

TEST_F(UpTest, ABadFieldIsRefusedBeforeAnythingStarts) {
  std::ofstream(folder_ / "bad.yaml")
      << "apiVersion: patella.dev/v1alpha1\nkind: InferenceDeployment\nmetadata: {name: bad}\n"
         "spec:\n  model: {name: m, uri: file://x.gguf}\n  replica: 2\n";
  auto up = Up({}, "127.0.0.1:0", (folder_ / "bad.yaml").string());
  EXPECT_EQ(up->WaitFor(kLong), kUsage);
  EXPECT_THAT(up->Log(), HasSubstr("spec.replica: unknown field; did you mean replicas? (bad.yaml:6)"));
  ExpectNothingLeft(0);
}

TEST_F(UpTest, CtrlCDuringTheCalibrationLeavesNothingBehind) {
  auto up = Up({"STUB_SIDECAR=ramping"});
  const TimePoint end = SteadyClock().Now() + kLong;
  while (!fs::exists(folder_ / "die") && SteadyClock().Now() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  kill(up->pid(), SIGINT);
  EXPECT_EQ(up->WaitFor(kLong), kInterrupted) << up->Log();
  ExpectNothingLeft(2);
}

TEST_F(UpTest, ChildrenDieWithPatellaItself) {
  auto up = Up({"STUB_ENGINE=stubborn"});
  ASSERT_TRUE(WaitForText(*up, "Ctrl-C stops it.")) << up->Log();
  kill(up->pid(), SIGKILL);
  up->WaitFor(kLong);
  for (const auto& entry : fs::directory_iterator(folder_ / "pids")) {
    int64_t pid = 0;
    if (!ParseInt(entry.path().extension().string().substr(1), &pid)) continue;
    const TimePoint end = SteadyClock().Now() + kLong;
    // Orphans are reaped by init: a zombie does not count as running.
    const auto running = [pid] {
      std::ifstream stat(StrCat("/proc/", pid, "/stat"));
      std::string text;
      return std::getline(stat, text) && text.find(") Z ") == std::string::npos;
    };
    while (running() && SteadyClock().Now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(running()) << entry.path();
  }
}

}  // namespace
}  // namespace patella::cli
