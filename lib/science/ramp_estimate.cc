#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "lib/science/ramp_log.h"
#include "lib/science/statistics.h"

namespace patella::science {
namespace {

constexpr int kBlockTokens = 4;
constexpr double kSlopeMustGain = 0.7;  // P(n) is sloped only if that removes 30 % of its scatter
constexpr double kMaxRatio = 1.3;

bool Disturbed(const RampLog& log, double from_s, double to_s) {
  for (const RampArrival& arrival : log.arrivals) {
    if (to_s > arrival.opened_s && from_s < arrival.closed_s) return true;
  }
  return false;
}

void AddStream(const RampLog& log, const RampStream& stream, const RampWindow& window, GapEstimate& gap,
               double& total_ms) {
  double block_ms = 0;
  int block_tokens = 0;
  for (size_t i = 1; i < stream.events.size(); ++i) {
    const RampEvent &before = stream.events[i - 1], &after = stream.events[i];
    if (before.at_s < window.opened_s || after.at_s > window.closed_s) continue;
    if (Disturbed(log, before.at_s, after.at_s)) {
      block_ms = 0;
      block_tokens = 0;
      continue;
    }
    const int tokens = after.tokens - before.tokens;
    const double ms = 1000 * (after.at_s - before.at_s);
    total_ms += ms;
    gap.tokens += tokens;
    gap.single_ms.push_back(ms / tokens);
    block_ms += ms;
    block_tokens += tokens;
    if (block_tokens < kBlockTokens) continue;
    gap.block_mean_ms.push_back(block_ms / block_tokens);
    block_ms = 0;
    block_tokens = 0;
  }
}

struct PrefillFit {
  double base_ms = 0, slope_ms = 0;
};

// P(n) over arrivals among others: its weighted mean, or a line where that explains clearly more.
PrefillFit FitPrefill(const std::vector<double>& n, const std::vector<double>& prefill_ms) {
  if (n.empty()) return {};
  std::vector<double> weights(n.size(), 1.0);
  const double center = std::max(0.0, Median(prefill_ms));
  std::vector<double> off;
  for (const double p : prefill_ms) off.push_back(std::abs(p - center));
  const double scale = std::max({1.4826 * Median(off), 0.05 * center, 1e-6});
  double mean = 0, sum = 0;
  for (size_t i = 0; i < n.size(); ++i) {
    weights[i] = std::min(1.0, 1.5 * scale / std::max(1e-9, std::abs(prefill_ms[i] - center)));
    mean += weights[i] * prefill_ms[i];
    sum += weights[i];
  }
  mean = std::max(0.0, mean / sum);
  const Line line = NonNegativeLine(n, prefill_ms, weights);
  double by_mean = 0, by_line = 0;
  for (size_t i = 0; i < n.size(); ++i) {
    by_mean += weights[i] * std::pow(prefill_ms[i] - mean, 2);
    by_line += weights[i] * std::pow(prefill_ms[i] - line.intercept - line.slope * n[i], 2);
  }
  if (n.size() >= 4 && by_line < kSlopeMustGain * by_mean) return {line.intercept, line.slope};
  return {mean, 0};
}

double GapAt(const std::vector<RampLevel>& levels, double concurrency) {
  if (levels.empty()) return 0;
  if (concurrency <= levels.front().concurrency) return levels.front().gap_ms;
  for (size_t i = 1; i < levels.size(); ++i) {
    if (concurrency > levels[i].concurrency && i + 1 < levels.size()) continue;
    const RampLevel &low = levels[i - 1], &high = levels[i];
    const double share = (concurrency - low.concurrency) / (high.concurrency - low.concurrency);
    return std::max(low.gap_ms, low.gap_ms + share * (high.gap_ms - low.gap_ms));
  }
  return levels.back().gap_ms;
}

std::vector<RampLevel> MeasureLevels(const RampLog& log, std::vector<double>& block_ratios) {
  std::map<int, RampLevel> by_concurrency;
  for (const RampWindow& window : log.windows) {
    const GapEstimate gap = EstimateGap(log, window);
    if (gap.tokens == 0 || !std::isfinite(window.closed_s)) continue;
    RampLevel& level = by_concurrency[window.concurrency];
    level.concurrency = window.concurrency;
    for (const double block : gap.block_mean_ms) block_ratios.push_back(block / gap.mean_ms);
    const double sum = level.tokens + gap.tokens;
    level.gap_ms = (level.gap_ms * level.tokens + gap.mean_ms * gap.tokens) / sum;
    if (!window.returning) level.gap_p90_ms = Quantile(gap.single_ms, 0.9);
    level.tokens += gap.tokens;
  }
  std::vector<RampLevel> levels;
  for (const auto& [concurrency, level] : by_concurrency) levels.push_back(level);
  return levels;
}

// Fills prefill_ms and ttft_ms of the levels, and the price of a prompt token from the arrivals of another length at
// the same level.
void MeasureArrivals(const RampLog& log, const RampConfig& config, RampResult& result) {
  std::vector<double> n, cost, per_token;
  for (RampLevel& level : result.levels) {
    double usual = 0, other = 0, ttft = 0, other_tokens = 0;
    int usual_count = 0, other_count = 0;
    const double gap = GapAt(result.levels, std::max(1, level.concurrency - 1));
    for (const RampArrival& arrival : log.arrivals) {
      double ms = 0;
      if (arrival.concurrency != level.concurrency || !arrival.usable || !EstimatePrefill(log, arrival, gap, ms))
        continue;
      const RampStream& stream = log.streams[arrival.stream];
      if (stream.prompt_tokens != config.input_tokens) {
        other += ms;
        other_tokens = stream.prompt_tokens;
        ++other_count;
        continue;
      }
      usual += ms;
      ttft += 1000 * (stream.events.front().at_s - stream.started_s);
      ++usual_count;
      if (level.concurrency == 1) continue;
      n.push_back(level.concurrency);
      cost.push_back(ms);
    }
    if (usual_count == 0) continue;
    level.arrivals = usual_count;
    level.prefill_ms = usual / usual_count;
    level.ttft_ms = ttft / usual_count;
    if (other_count > 0)
      per_token.push_back((level.prefill_ms - other / other_count) / (config.input_tokens - other_tokens));
  }
  PrefillFit fit = FitPrefill(n, cost);
  const RampLevel& first = result.levels.front();
  if (n.empty() && first.arrivals > 0) fit.base_ms = std::max(0.0, first.prefill_ms);
  result.prefill_ms = fit.base_ms;
  result.prefill_slope_ms = fit.slope_ms;
  const double most = (fit.base_ms + fit.slope_ms) / std::max(1, config.input_tokens);
  result.prefill_ms_per_token = per_token.empty() ? 0 : std::clamp(Median(per_token), 0.0, most);
}

void SetRatio(const std::vector<double>& block_ratios, RampResult& result) {
  // Blocks of four gaps scatter more than means over a whole answer, and less where the noise is slow: half of the
  // variance stays.
  const double sd = StandardDeviation(block_ratios) / std::sqrt(2.0);
  result.p90_over_mean = std::clamp(1 + 1.2816 * sd, 1.0, kMaxRatio);
}

}  // namespace

GapEstimate EstimateGap(const RampLog& log, const RampWindow& window) {
  GapEstimate gap;
  double total_ms = 0;
  for (const RampStream& stream : log.streams) AddStream(log, stream, window, gap, total_ms);
  if (gap.tokens > 0) gap.mean_ms = total_ms / gap.tokens;
  return gap;
}

double GapHalfWidth(const RampLog& log, const RampWindow& window) {
  std::vector<double> sums, counts;
  for (const RampStream& stream : log.streams) {
    if (!stream.live) continue;
    size_t k = 0;
    for (size_t i = 1; i < stream.events.size(); ++i) {
      const RampEvent &before = stream.events[i - 1], &after = stream.events[i];
      if (before.at_s < window.opened_s || after.at_s > window.closed_s || Disturbed(log, before.at_s, after.at_s))
        continue;
      if (k == sums.size()) {
        sums.push_back(0);
        counts.push_back(0);
      }
      sums[k] += 1000 * (after.at_s - before.at_s) / (after.tokens - before.tokens);
      ++counts[k++];
    }
  }
  const size_t n = sums.size();
  if (n < 3) return kInfinity;
  for (size_t k = 0; k < n; ++k) sums[k] /= counts[k];
  return Student975(static_cast<int>(n) - 1) * StandardDeviation(sums) / std::sqrt(static_cast<double>(n)) / Mean(sums);
}

bool EstimatePrefill(const RampLog& log, const RampArrival& arrival, double gap_ms, double& prefill_ms) {
  const RampStream& newcomer = log.streams[arrival.stream];
  if (newcomer.events.empty()) return false;
  const double first_s = newcomer.events.front().at_s;
  if (arrival.concurrency == 1) {
    prefill_ms = 1000 * (first_s - newcomer.started_s) - gap_ms;
    return true;
  }
  double sum = 0;
  int survivors = 0;
  for (size_t s = 0; s < log.streams.size(); ++s) {
    const std::vector<RampEvent>& events = log.streams[s].events;
    if (s == arrival.stream || events.empty()) continue;
    const auto later = [](double at, const RampEvent& event) { return at < event.at_s; };
    const auto earlier = [](const RampEvent& event, double at) { return event.at_s < at; };
    const auto after_start = std::upper_bound(events.begin(), events.end(), newcomer.started_s, later);
    const auto end = std::lower_bound(events.begin(), events.end(), first_s, earlier);
    if (after_start == events.begin() || end == events.end()) continue;
    const RampEvent& begin = *(after_start - 1);
    sum += 1000 * (end->at_s - begin.at_s) - (end->tokens - begin.tokens) * gap_ms;
    ++survivors;
  }
  if (survivors == 0) return false;
  prefill_ms = sum / survivors;
  return true;
}

absl::StatusOr<RampResult> EstimateRamp(const RampLog& log, const RampConfig& config) {
  RampResult result;
  std::vector<double> block_ratios;
  result.levels = MeasureLevels(log, block_ratios);
  if (result.levels.size() < 2) {
    return absl::FailedPreconditionError(absl::StrCat("the ramp could measure ", result.levels.size(),
                                                      " level(s) of concurrency, and a curve needs two"));
  }
  MeasureArrivals(log, config, result);
  SetRatio(block_ratios, result);
  std::vector<CurvePoint> outputs, ends;
  for (const RampLevel& level : result.levels) {
    const double n = level.concurrency, out = config.output_tokens, prefill = result.PrefillMs(n);
    const double per_output = level.gap_ms + (n - 1) * prefill / out;
    const double end_to_end = level.gap_ms + n * prefill / out;
    outputs.push_back({level.concurrency, per_output, 1000 * n / per_output, level.tokens});
    ends.push_back({level.concurrency, end_to_end, 1000 * n / end_to_end, level.tokens});
  }
  const auto fit = FitLaw(ends, {.find_cap = false});
  const auto output_fit = FitLaw(outputs, {.find_cap = false});
  if (!fit.ok()) return fit.status();
  if (!output_fit.ok()) return output_fit.status();
  result.fit = *fit;
  result.end_to_end = MakeCurve(ends, fit->law);
  result.time_per_output_token = MakeCurve(outputs, output_fit->law);
  return result;
}

double RampResult::StepMs(double concurrency) const {
  if (levels.size() > 1 && concurrency > levels.back().concurrency) {
    const RampLevel &low = levels[levels.size() - 2], &high = levels.back();
    const double slope = std::max(0.0, (high.gap_ms - low.gap_ms) / (high.concurrency - low.concurrency));
    return high.gap_ms + slope * (concurrency - high.concurrency);
  }
  return GapAt(levels, concurrency);
}

double RampResult::PrefillMs(double concurrency) const {
  // Alone, nothing overlaps with a request's way in and out: its own figure, where there is one.
  if (concurrency <= 1 && !levels.empty() && levels.front().concurrency == 1 && levels.front().arrivals > 0) {
    return levels.front().prefill_ms;  // below 0 where a prefill is shorter than a step
  }
  return prefill_ms + prefill_slope_ms * concurrency;
}

double RampResult::TtftMs(double concurrency) const {
  const RampLevel* low = nullptr;
  for (const RampLevel& level : levels) {
    if (level.ttft_ms <= 0) continue;
    if (level.concurrency >= concurrency) {
      if (low == nullptr) return level.ttft_ms;
      const double share = (concurrency - low->concurrency) / (level.concurrency - low->concurrency);
      return low->ttft_ms + share * (level.ttft_ms - low->ttft_ms);
    }
    low = &level;
  }
  if (low == nullptr) return 0;
  // Beyond what was seen: an arrival waits for the step that runs, and for its own prefill.
  return low->ttft_ms + StepMs(concurrency) - StepMs(low->concurrency) + PrefillMs(concurrency) -
         PrefillMs(low->concurrency);
}

}  // namespace patella::science
