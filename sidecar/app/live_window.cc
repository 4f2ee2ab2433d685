#include "sidecar/app/live_window.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace patella::sidecar {
namespace {
constexpr double kTokenWindow_s = 10;
constexpr double kStreamWindow_s = 30;
constexpr double kBucket_s = 0.1;  // tokens are summed in slices of time, so that memory does not grow with throughput
constexpr size_t kMaxStreams = 10'000;
}  // namespace

void LiveWindow::OnTokens(int tokens, double now_s) {
  if (!tokens_.empty() && now_s - tokens_.back().time_s < kBucket_s) {
    tokens_.back().tokens += tokens;
  } else {
    tokens_.push_back({now_s, tokens});
  }
  Forget(now_s);
}

void LiveWindow::OnStream(double time_per_output_token_ms, double time_to_first_token_ms, double end_to_end_ms,
                          double now_s) {
  streams_.push_back({now_s, time_per_output_token_ms, time_to_first_token_ms, end_to_end_ms});
  if (streams_.size() > kMaxStreams) streams_.pop_front();
  Forget(now_s);
}

double LiveWindow::TokensPerSecond(double now_s) {
  Forget(now_s);
  double sum = 0;
  for (const Tokens& t : tokens_) sum += t.tokens;
  return sum / kTokenWindow_s;
}

double LiveWindow::WorstTargetRatio(const std::vector<science::Target>& targets, double now_s) {
  double worst = 0;
  for (const science::Target& target : targets)
    worst = std::max(worst, LatencyMs(target.metric, target.quantile, now_s) / target.target_ms);
  return worst;
}

void LiveWindow::Forget(double now_s) {
  while (!tokens_.empty() && tokens_.front().time_s < now_s - kTokenWindow_s) tokens_.pop_front();
  while (!streams_.empty() && streams_.front().time_s < now_s - kStreamWindow_s) streams_.pop_front();
}

double LiveWindow::LatencyMs(science::LatencyMetric metric, double quantile, double now_s) {
  Forget(now_s);
  std::vector<double> values;
  for (const Stream& s : streams_) {
    const double value = metric == science::LatencyMetric::kTimePerOutputToken ? s.ms_per_token
                         : metric == science::LatencyMetric::kTimeToFirstToken ? s.first_token_ms
                                                                               : s.end_to_end_ms;
    if (value > 0) values.push_back(value);
  }
  if (values.empty()) return 0;
  const auto rank = static_cast<size_t>(std::clamp(std::ceil(quantile * static_cast<double>(values.size())) - 1, 0.0,
                                                   static_cast<double>(values.size() - 1)));
  std::nth_element(values.begin(), values.begin() + static_cast<long>(rank), values.end());
  return values[rank];
}

}  // namespace patella::sidecar
