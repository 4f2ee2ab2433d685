// Every metric that a Patella program may export, in one list. Registration, documentation and the dashboard check read
// it.
//
// To add a metric: one line in list.cc. Names carry base units (_seconds, _bytes, _ratio, _tokens), counters end in
// _total (but for TGI's own names, kept so that its dashboards work), labels never hold ids.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace patella::metrics {

enum class MetricType { kCounter, kGauge, kHistogram };

struct MetricInfo {
  std::string_view name;
  MetricType type;
  std::string_view help;
  std::vector<std::string_view> labels;  // beside the constant ones given to Metrics
  std::span<const double> buckets = {};  // upper edges of a histogram, ascending, without +Inf
};

std::span<const MetricInfo> MetricList();

const MetricInfo* FindMetric(std::string_view name);  // null if unknown

}  // namespace patella::metrics
