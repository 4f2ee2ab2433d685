#include "lib/loadgen/summary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "lib/base/text.h"

namespace patella::loadgen {
namespace {

struct MetricName {
  LatencyMetric metric;
  std::string_view brief, full, words;
};
constexpr std::array<MetricName, 3> kMetrics = {{
    {LatencyMetric::kTimePerOutputToken, "tpot", "TimePerOutputToken", "time per output token"},
    {LatencyMetric::kTimeToFirstToken, "ttft", "TimeToFirstToken", "time to first token"},
    {LatencyMetric::kEndToEnd, "e2e", "EndToEnd", "end-to-end latency"},
}};

constexpr int kBatches = 10;
constexpr double kStudentT9 = 2.262;  // 97.5 % quantile with 9 degrees of freedom

absl::Status BadTarget(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      StrCat("target \"", text, "\": ", why,
             ". Expected metric:quantile:limit, for example tpot:p90:50ms (metrics: tpot, ttft, e2e)"));
}

std::vector<std::string_view> SplitAtColons(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t colon; (colon = text.find(':')) != std::string_view::npos; text.remove_prefix(colon + 1)) {
    parts.push_back(text.substr(0, colon));
  }
  parts.push_back(text);
  return parts;
}

bool EqualsIgnoreCase(std::string_view a, std::string_view b) { return absl::EqualsIgnoreCase(ToAbsl(a), ToAbsl(b)); }

// 50, 50ms, 1.5s -> ms; ≤ 0 if it is none.
double ParseMs(std::string_view text) {
  double factor = 1, value = 0;
  if (text.ends_with("ms")) {
    text.remove_suffix(2);
  } else if (text.ends_with('s')) {
    text.remove_suffix(1);
    factor = 1e3;
  }
  return absl::SimpleAtod(ToAbsl(text), &value) && std::isfinite(value) ? value * factor : -1;
}

// Half-width of the 95 % interval of a rate, from its means over equal parts of the window.
double BatchMeansHalfWidth(const LoadResult& result, double seconds) {
  if (seconds <= 0 || result.arrivals.size() < 5 * kBatches) return 0;
  std::array<double, kBatches> rate{};
  const double part = seconds / kBatches;
  for (const TokenArrival& arrival : result.arrivals) {
    const double at = (arrival.at_s - result.window_begin_s) / part;
    if (at >= 0 && at < kBatches) rate[static_cast<size_t>(at)] += arrival.tokens / part;
  }
  double mean = 0, squares = 0;
  for (double r : rate) mean += r / kBatches;
  for (double r : rate) squares += (r - mean) * (r - mean);
  return kStudentT9 * std::sqrt(squares / (kBatches - 1) / kBatches);
}

Quantiles ThreeQuantiles(const std::vector<double>& values) {
  return {.p50 = Quantile(values, 0.5), .p90 = Quantile(values, 0.9), .p99 = Quantile(values, 0.99)};
}

}  // namespace

absl::StatusOr<LatencyTarget> ParseTarget(std::string_view text) {
  const std::vector<std::string_view> parts = SplitAtColons(text);
  if (parts.size() != 3) return BadTarget(text, "it has not three parts");
  LatencyTarget target;
  const auto named = std::find_if(kMetrics.begin(), kMetrics.end(), [&](const MetricName& name) {
    return EqualsIgnoreCase(name.brief, parts[0]) || EqualsIgnoreCase(name.full, parts[0]);
  });
  if (named == kMetrics.end()) return BadTarget(text, StrCat("there is no metric \"", parts[0], "\""));
  target.metric = named->metric;
  double value = 0;
  const bool is_percentile = parts[1].starts_with('p') || parts[1].starts_with('P');
  if (!is_percentile || !absl::SimpleAtod(ToAbsl(parts[1].substr(1)), &value) || !(value > 0 && value < 100)) {
    return BadTarget(text, StrCat("\"", parts[1], "\" is not a percentile between p0 and p100"));
  }
  target.quantile = value / 100;
  target.target_ms = ParseMs(parts[2]);
  if (!(target.target_ms > 0)) return BadTarget(text, StrCat("\"", parts[2], "\" is not a positive time in ms or s"));
  return target;
}

std::string ToText(const LatencyTarget& target) {
  return StrCat("p", 100 * target.quantile, " ", kMetrics[static_cast<size_t>(target.metric)].words, " ≤ ",
                target.target_ms, " ms");
}

double ValueOf(const RequestRecord& record, LatencyMetric metric) {
  switch (metric) {
    case LatencyMetric::kTimePerOutputToken:
      return record.tpot_ms();
    case LatencyMetric::kTimeToFirstToken:
      return record.ttft_ms();
    case LatencyMetric::kEndToEnd:
      return record.e2e_ms();
  }
  return std::numeric_limits<double>::quiet_NaN();
}

bool Meets(const RequestRecord& record, const std::vector<LatencyTarget>& targets) {
  return record.ok() && std::all_of(targets.begin(), targets.end(), [&](const LatencyTarget& target) {
           return ValueOf(record, target.metric) <= target.target_ms;
         });
}

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

LoadSummary Summarize(const LoadResult& result, const std::vector<LatencyTarget>& targets) {
  LoadSummary summary;
  summary.concurrency = result.concurrency;
  summary.seconds = std::max(0.0, result.window_end_s - result.window_begin_s);
  std::vector<double> tpot, ttft, e2e;
  double tokens = 0, request_seconds = 0, good_tokens = 0, met = 0;
  for (const RequestRecord& record : result.records) {
    if (!record.measured) continue;
    if (!record.ok()) {
      ++(record.refused() ? summary.refused : summary.failed);
      continue;
    }
    ++summary.completed;
    tokens += record.output_tokens;
    request_seconds += record.e2e_ms() / 1e3;
    if (record.output_tokens > 1) tpot.push_back(record.tpot_ms());
    ttft.push_back(record.ttft_ms());
    e2e.push_back(record.e2e_ms());
    if (Meets(record, targets)) {
      good_tokens += record.output_tokens;
      ++met;
    }
  }
  double arrived = 0;
  for (const TokenArrival& arrival : result.arrivals) {
    if (arrival.at_s >= result.window_begin_s && arrival.at_s <= result.window_end_s) arrived += arrival.tokens;
  }
  if (summary.seconds > 0) {
    summary.tokens_per_second = arrived / summary.seconds;
    summary.goodput = good_tokens / summary.seconds;
    summary.tokens_per_second_ci95 = BatchMeansHalfWidth(result, summary.seconds);
  }
  if (tokens > 0) summary.mean_ms_per_token = 1e3 * request_seconds / tokens;
  if (summary.completed > 0) summary.attainment = met / summary.completed;
  if (result.concurrency > 0) {
    summary.little_ratio = summary.tokens_per_second * summary.mean_ms_per_token / 1e3 / result.concurrency;
  }
  summary.tpot_ms = ThreeQuantiles(tpot);
  summary.ttft_ms = ThreeQuantiles(ttft);
  summary.e2e_ms = ThreeQuantiles(e2e);
  return summary;
}

}  // namespace patella::loadgen
