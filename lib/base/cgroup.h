// What this process may really use of the machine: CPUs by affinity mask and cgroup quota, memory by cgroup limit.
#pragma once

#include <cstdint>
#include <string>

namespace patella {

// Whole threads, ≥ 1. A quota of 1.5 CPUs gives 2: the scheduler throttles the rest.
int UsableThreads();

// The smallest quota, in CPUs, from the process's own cgroup (v2 cpu.max, v1 cpu.cfs_quota_us) up to the root of the
// tree that it can see; 0 if there is none. `root` replaces "/" in tests.
double CgroupCpuQuota(const std::string& root = "");
// Likewise the smallest memory limit, bytes (v2 memory.max, v1 memory.limit_in_bytes); 0 if there is none.
int64_t CgroupMemoryLimit(const std::string& root = "");
// Bytes that the machine can give without swapping, what caches can give back included (MemAvailable of /proc/meminfo); 0
// if it does not tell.
int64_t AvailableMemory(const std::string& root = "");

}  // namespace patella
