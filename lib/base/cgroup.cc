#include "lib/base/cgroup.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "lib/base/text.h"

namespace patella {
namespace {

constexpr double kNoMemoryLimit = 1e18;  // what version 1 says where there is none is about 9.2e18

std::string ReadFirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

double QuotaOfV2(const std::string& directory) {
  const std::string line = ReadFirstLine(directory + "/cpu.max");
  const std::vector<std::string_view> words = Split(line, ' ');
  double quota = 0;
  double period = 0;
  if (words.size() != 2 || !ParseDouble(words[0], &quota) || !ParseDouble(words[1], &period)) return 0;
  return period > 0 ? quota / period : 0;
}

double QuotaOfV1(const std::string& directory) {
  double quota = 0;
  double period = 0;
  if (!ParseDouble(ReadFirstLine(directory + "/cpu.cfs_quota_us"), &quota)) return 0;
  if (!ParseDouble(ReadFirstLine(directory + "/cpu.cfs_period_us"), &period)) return 0;
  return quota > 0 && period > 0 ? quota / period : 0;
}

// The smallest positive quota of `path` and its parents below `mount`.
template <typename QuotaOf>
double SmallestOnTheWayUp(const std::string& mount, std::string path, QuotaOf quota_of) {
  double smallest = 0;
  while (true) {
    const double quota = quota_of(mount + path);
    if (quota > 0 && (smallest == 0 || quota < smallest)) smallest = quota;
    const size_t slash = path.find_last_of('/');
    if (slash == std::string::npos) return smallest;
    path.resize(slash);
  }
}

double SmallerOf(double a, double b) {
  if (a == 0) return b;
  if (b == 0) return a;
  return std::min(a, b);
}

// Lines of /proc/self/cgroup: "0::/path" (v2) and "4:cpu,cpuacct:/path" (v1). In a container the path may not exist
// below the mount point; the walk up ends at the mount point itself, which does.
template <typename OfV2, typename OfV1>
double SmallestInCgroups(const std::string& root, std::string_view controller, const std::vector<const char*>& mounts,
                         OfV2 of_v2, OfV1 of_v1) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  double smallest = 0;
  while (std::getline(file, line)) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1) == "/" ? "" : line.substr(second + 1);
    if (controllers.empty()) {
      smallest = SmallerOf(smallest, SmallestOnTheWayUp(root + "/sys/fs/cgroup", path, of_v2));
      continue;
    }
    for (const std::string_view named : Split(controllers, ',')) {
      if (named != controller) continue;
      for (const char* mount : mounts) smallest = SmallerOf(smallest, SmallestOnTheWayUp(root + mount, path, of_v1));
    }
  }
  return smallest;
}

}  // namespace

double CgroupCpuQuota(const std::string& root) {
  return SmallestInCgroups(root, "cpu", {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"}, QuotaOfV2, QuotaOfV1);
}

int64_t CgroupMemoryLimit(const std::string& root) {
  const auto limit_in = [](std::string_view file) {
    return [file](const std::string& directory) {
      double bytes = 0;
      return ParseDouble(ReadFirstLine(StrCat(directory, "/", file)), &bytes) && bytes < kNoMemoryLimit ? bytes : 0.0;
    };
  };
  return static_cast<int64_t>(SmallestInCgroups(root, "memory", {"/sys/fs/cgroup/memory"}, limit_in("memory.max"),
                                                limit_in("memory.limit_in_bytes")));
}

int64_t AvailableMemory(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  std::string name;
  int64_t kib = 0;
  for (std::string line; std::getline(file, line);) {
    if (std::istringstream(line) >> name >> kib && name == "MemAvailable:") return kib << 10;
  }
  return 0;
}

int UsableThreads() {
  int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0 && CPU_COUNT(&mask) > 0)
    threads = std::min(threads, CPU_COUNT(&mask));
  const double quota = CgroupCpuQuota();
  if (quota > 0) threads = std::min(threads, static_cast<int>(std::ceil(quota)));
  return std::max(1, threads);
}

}  // namespace patella
