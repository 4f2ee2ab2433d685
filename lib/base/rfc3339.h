// Wall-clock times as Kubernetes and JSON write them, in UTC. Pure.
#pragma once

#include <chrono>
#include <string>

namespace patella {

std::string Rfc3339(std::chrono::system_clock::time_point time);        // "2026-01-02T03:04:05Z"
std::string Rfc3339Micros(std::chrono::system_clock::time_point time);  // "2026-01-02T03:04:05.000006Z"

}  // namespace patella
