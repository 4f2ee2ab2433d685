#include "lib/base/rfc3339.h"

#include <cstdio>
#include <ctime>

namespace patella {
namespace {

std::string Format(std::chrono::system_clock::time_point time, const char* end) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(time));
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  return std::string(text) + end;
}

}  // namespace

std::string Rfc3339(std::chrono::system_clock::time_point time) { return Format(time, "Z"); }

std::string Rfc3339Micros(std::chrono::system_clock::time_point time) {
  const auto part = time - std::chrono::floor<std::chrono::seconds>(time);
  char end[16];
  std::snprintf(end, sizeof end, ".%06dZ",
                static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(part).count()));
  return Format(time, end);
}

}  // namespace patella
