// Closed choices of the API: each enum's values and their names as users write them, in the same order.
#pragma once

#include <array>
#include <string_view>

namespace patella::api {

enum class EngineType { kPatella, kVllm, kTgi, kOpenAi };
enum class Prefer { kCost, kLatency, kThroughput, kKnee };
enum class LatencyMetric { kTimePerOutputToken, kTimeToFirstToken, kEndToEnd };
enum class KneeDefinition { kUtilization, kHalfLatency, kKleinrock };
enum class TuningMode { kAuto, kAdvise, kOff };
enum class ScalingMode { kAuto, kExternal, kOff };
enum class Overflow { kForward, kReject };
enum class UpdatePolicy { kManual, kAuto };

template <typename E>
struct EnumNames;
template <>
struct EnumNames<EngineType> {
  static constexpr std::array<std::string_view, 4> kNames = {"Patella", "VLLM", "TGI", "OpenAI"};
};
template <>
struct EnumNames<Prefer> {
  static constexpr std::array<std::string_view, 4> kNames = {"Cost", "Latency", "Throughput", "Knee"};
};
template <>
struct EnumNames<LatencyMetric> {
  static constexpr std::array<std::string_view, 3> kNames = {"TimePerOutputToken", "TimeToFirstToken", "EndToEnd"};
};
template <>
struct EnumNames<KneeDefinition> {
  static constexpr std::array<std::string_view, 3> kNames = {"Utilization", "HalfLatency", "Kleinrock"};
};
template <>
struct EnumNames<TuningMode> {
  static constexpr std::array<std::string_view, 3> kNames = {"Auto", "Advise", "Off"};
};
template <>
struct EnumNames<ScalingMode> {
  static constexpr std::array<std::string_view, 3> kNames = {"Auto", "External", "Off"};
};
template <>
struct EnumNames<Overflow> {
  static constexpr std::array<std::string_view, 2> kNames = {"Forward", "Reject"};
};
template <>
struct EnumNames<UpdatePolicy> {
  static constexpr std::array<std::string_view, 2> kNames = {"Manual", "Auto"};
};

template <typename E>
constexpr std::string_view NameOf(E value) {
  return EnumNames<E>::kNames[static_cast<size_t>(value)];
}

}  // namespace patella::api
