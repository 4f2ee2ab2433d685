#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "lib/base/address.h"
#include "lib/base/cgroup.h"
#include "lib/base/error_kind.h"
#include "lib/base/logging.h"
#include "lib/base/random.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella {
namespace {

TEST(ErrorKindTest, EachKindHasItsOwnStatusAndLabel) {
  std::set<int> statuses;
  std::set<std::string_view> labels;
  for (int i = 0; i <= static_cast<int>(ErrorKind::kTimeout); ++i) {
    const ErrorKindInfo& info = InfoOf(static_cast<ErrorKind>(i));
    EXPECT_EQ(static_cast<int>(info.kind), i);
    EXPECT_TRUE(statuses.insert(info.http_status).second);
    EXPECT_TRUE(labels.insert(info.metric_label).second);
    EXPECT_GT(info.exit_code, 0);
  }
  EXPECT_EQ(InfoOf(ErrorKind::kOverloaded).tgi_error_type, "overloaded");
  EXPECT_EQ(InfoOf(ErrorKind::kValidation).http_status, 422);
}

TEST(ErrorKindTest, AStatusHasTheKindThatFitsBest) {
  EXPECT_EQ(KindOf(absl::ResourceExhaustedError("")), ErrorKind::kOverloaded);
  EXPECT_EQ(KindOf(absl::UnavailableError("")), ErrorKind::kUnavailable);
  EXPECT_EQ(KindOf(absl::InvalidArgumentError("")), ErrorKind::kBadRequest);
  EXPECT_EQ(KindOf(absl::OutOfRangeError("")), ErrorKind::kValidation);
  EXPECT_EQ(KindOf(absl::FailedPreconditionError("")), ErrorKind::kValidation);
  EXPECT_EQ(KindOf(absl::UnimplementedError("")), ErrorKind::kValidation) << "a model of a kind that is not served";
  EXPECT_EQ(KindOf(absl::AlreadyExistsError("")), ErrorKind::kUnavailable) << "a taken port is no bug of ours";
  EXPECT_EQ(KindOf(absl::PermissionDeniedError("")), ErrorKind::kUnavailable);
  EXPECT_EQ(KindOf(absl::DeadlineExceededError("")), ErrorKind::kTimeout);
  EXPECT_EQ(KindOf(absl::DataLossError("")), ErrorKind::kInternal);
}

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return absl::InvalidArgumentError("odd");
  return n / 2;
}
absl::StatusOr<int> Quarter(int n) {
  PATELLA_ASSIGN_OR_RETURN(const int half, Half(n));
  PATELLA_RETURN_IF_ERROR(Half(half).status());
  return half / 2;
}

TEST(StatusMacrosTest, ReturnTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  EXPECT_EQ(Quarter(3).status().message(), "odd");
}

TEST(RandomTest, TheSequenceOfASeedNeverChanges) {
  Random random(0);
  EXPECT_EQ(random.Next(), 0xe220a8397b1dcdafu);  // SplitMix64's published first value
  EXPECT_EQ(random.Next(), 0x6e789e6aa1b965f4u);
}

TEST(RandomTest, DistributionsHaveTheirMeansAndBounds) {
  Random random(7);
  constexpr int kDraws = 200000;
  double uniform = 0, exponential = 0, normal = 0, square = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = random.Uniform();
    ASSERT_TRUE(u >= 0 && u < 1);
    uniform += u;
    exponential += random.Exponential(3);
    const double n = random.Normal();
    normal += n;
    square += n * n;
    const int64_t k = random.UniformInt(-2, 2);
    ASSERT_TRUE(k >= -2 && k <= 2);
  }
  EXPECT_NEAR(uniform / kDraws, 0.5, 0.01);
  EXPECT_NEAR(exponential / kDraws, 3, 0.05);
  EXPECT_NEAR(normal / kDraws, 0, 0.02);
  EXPECT_NEAR(square / kDraws, 1, 0.02);
}

TEST(LoggingTest, ALineCannotBeForged) {
  EXPECT_EQ(FormatLogLine("listening", {{"address", "127.0.0.1:80"}, {"tls", false}, {"n", 3}}),
            "listening address=127.0.0.1:80 tls=false n=3");
  EXPECT_EQ(FormatLogLine("x", {{"path", "/a\n2026 error fake=1"}, {"quote", "a\"b"}, {"empty", ""}}),
            "x path=\"/a\\n2026 error fake=1\" quote=\"a\\\"b\" empty=\"\"");
  EXPECT_FALSE(SetLogLevel("loud").ok());
}

class FakeRoot {
 public:
  FakeRoot() {
    std::string name = testing::TempDir() + "cgroupXXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~FakeRoot() { std::filesystem::remove_all(path_); }
  void Write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(path_ + file).parent_path());
    std::ofstream(path_ + file) << text;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(CpuQuotaTest, TakesTheSmallestQuotaOnTheWayUpInVersion2) {
  const FakeRoot root;
  root.Write("/proc/self/cgroup", "0::/pod/container\n");
  root.Write("/sys/fs/cgroup/pod/container/cpu.max", "max 100000\n");
  EXPECT_EQ(CgroupCpuQuota(root.path()), 0);
  root.Write("/sys/fs/cgroup/pod/cpu.max", "150000 100000\n");
  EXPECT_EQ(CgroupCpuQuota(root.path()), 1.5);
  root.Write("/sys/fs/cgroup/pod/container/cpu.max", "50000 100000\n");
  EXPECT_EQ(CgroupCpuQuota(root.path()), 0.5);
}

TEST(CpuQuotaTest, ReadsVersion1AndAPathThatIsNotMounted) {
  const FakeRoot root;
  root.Write("/proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n");
  root.Write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n");
  root.Write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(CgroupCpuQuota(root.path()), 2);
  EXPECT_GE(UsableThreads(), 1);
}

TEST(CgroupMemoryLimitTest, TakesTheSmallestLimitOnTheWayUpInBothVersions) {
  const FakeRoot root;
  root.Write("/proc/self/cgroup", "0::/pod/container\n");
  root.Write("/sys/fs/cgroup/pod/container/memory.max", "max\n");
  EXPECT_EQ(CgroupMemoryLimit(root.path()), 0);
  root.Write("/sys/fs/cgroup/pod/memory.max", "536870912\n");
  EXPECT_EQ(CgroupMemoryLimit(root.path()), 536870912);
  root.Write("/proc/self/cgroup", "5:memory:/x\n");
  root.Write("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(CgroupMemoryLimit(root.path()), 0);
  root.Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n");
  EXPECT_EQ(CgroupMemoryLimit(root.path()), 1000000);
}

TEST(AvailableMemoryTest, IsWhatTheKernelSaysInKib) {
  const FakeRoot root;
  EXPECT_EQ(AvailableMemory(root.path()), 0);
  root.Write("/proc/meminfo", "MemTotal:  2048 kB\nMemFree:  10 kB\nMemAvailable:    1024 kB\n");
  EXPECT_EQ(AvailableMemory(root.path()), 1 << 20);
  EXPECT_GT(AvailableMemory(), 0);
}

TEST(AddressTest, IsOfIpv4OrOfIpv6InBrackets) {
  EXPECT_EQ(ParseAddress("LISTEN", "127.0.0.1:80")->host, "127.0.0.1");
  EXPECT_EQ(ParseAddress("LISTEN", "[::]:8081")->host, "::");
  EXPECT_EQ(ParseAddress("LISTEN", "[::]:8081")->port, 8081);
  for (const char* text : {"", "8080", ":8080", "a:b", "a:65536", "a:-1"})
    EXPECT_FALSE(ParseAddress("LISTEN", text).ok()) << text;
}

TEST(TextTest, JoinsSplitsAndParses) {
  EXPECT_EQ(StrCat("a", std::string_view("b"), std::string("c"), 1, 2.5, 'd', true), "abc12.5dtrue");
  EXPECT_EQ(Join(Split("a,b,,c", ','), "|"), "a|b||c");
  EXPECT_EQ(Strip("  a b\r\n"), "a b");
  int64_t value = 0;
  EXPECT_TRUE(ParseInt("-12", &value));
  EXPECT_EQ(value, -12);
  for (const char* text : {"", " 1", "1 ", "1x", "99999999999999999999", "+1"})
    EXPECT_FALSE(ParseInt(text, &value)) << text;
}

}  // namespace
}  // namespace patella
