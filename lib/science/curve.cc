#include "lib/science/curve.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/science/statistics.h"

namespace patella::science {

double Law::MsPerToken(double concurrency) const {
  if (concurrency <= cap) return a_ms + b_ms * concurrency;
  return (a_ms + b_ms * cap) * concurrency / cap;
}

double Law::TokensPerSecond(double concurrency) const { return 1000 * concurrency / MsPerToken(concurrency); }

double UtilizationAt(const Law& law, double concurrency) {
  const double loaded = law.b_ms * std::min(concurrency, law.cap);
  return loaded > 0 ? loaded / (law.a_ms + loaded) : 0;
}

double PeakTokensPerSecond(const Law& law) {
  if (std::isfinite(law.cap)) return law.TokensPerSecond(law.cap);
  return law.b_ms > 0 ? 1000 / law.b_ms : kInfinity;
}

double LittleRatio(const CurvePoint& point) {
  return point.tokens_per_second * point.mean_ms_per_token / (1000.0 * point.concurrency);
}

absl::Status CheckLittle(std::span<const CurvePoint> points, double tolerance) {
  std::string broken;
  for (const CurvePoint& point : points) {
    const double ratio = LittleRatio(point);
    if (std::abs(ratio - 1) <= tolerance) continue;
    absl::StrAppend(&broken, broken.empty() ? "" : ", ",
                    absl::StrFormat("c = %d (ratio %.2f)", point.concurrency, ratio));
  }
  if (broken.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "throughput times latency is not the concurrency (Little's law) at ", broken,
      ": the load generator was the bottleneck, requests were dropped, or a percentile was taken for the mean"));
}

double Curve::MsPerToken(double concurrency) const {
  const double by_law = law.MsPerToken(concurrency);
  if (pull <= 0 || points.empty()) return by_law;
  const auto above = std::lower_bound(points.begin(), points.end(), concurrency,
                                      [](const CurvePoint& point, double c) { return point.concurrency < c; });
  const size_t i = static_cast<size_t>(above - points.begin());
  double correction = 0;
  if (i == 0) {
    correction = corrections.front();
  } else if (i == points.size()) {
    correction = corrections.back();
  } else {
    const double low = std::log(points[i - 1].concurrency), high = std::log(points[i].concurrency);
    const double share = (std::log(concurrency) - low) / (high - low);
    correction = corrections[i - 1] + share * (corrections[i] - corrections[i - 1]);
  }
  return by_law * std::exp(pull * correction);
}

double Curve::TokensPerSecond(double concurrency) const { return 1000 * concurrency / MsPerToken(concurrency); }

double Curve::ConcurrencyAt(double ms, double most) const {
  if (MsPerToken(1) > ms) return 0;
  most = std::max(1.0, most);
  if (MsPerToken(most) <= ms) return most;
  double low = 1, high = most;
  // Steps may make the curve fall in places; of several crossings the lowest is the safe one.
  for (double c = 1; c <= most; c = std::min(most, c * 1.02)) {
    if (MsPerToken(c) > ms) {
      high = c;
      break;
    }
    low = c;
    if (c == most) break;
  }
  for (int i = 0; i < 50; ++i) {
    const double middle = 0.5 * (low + high);
    (MsPerToken(middle) <= ms ? low : high) = middle;
  }
  return low;
}

namespace {

std::vector<CurvePoint> Merged(std::span<const CurvePoint> points) {
  std::vector<CurvePoint> sorted(points.begin(), points.end());
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const CurvePoint& l, const CurvePoint& r) { return l.concurrency < r.concurrency; });
  std::vector<CurvePoint> merged;
  for (const CurvePoint& point : sorted) {
    if (merged.empty() || merged.back().concurrency != point.concurrency) {
      merged.push_back(point);
      continue;
    }
    CurvePoint& into = merged.back();
    const double old_weight = std::max(1, into.samples), weight = std::max(1, point.samples), sum = old_weight + weight;
    into.mean_ms_per_token = (old_weight * into.mean_ms_per_token + weight * point.mean_ms_per_token) / sum;
    into.tokens_per_second = (old_weight * into.tokens_per_second + weight * point.tokens_per_second) / sum;
    into.samples += point.samples;
  }
  return merged;
}

// How much of the corrections to believe: their variance as errors of the law against the variance with which each inner point misses the
// line between its neighbours (1.5 times the noise if they are nothing but noise, hence the factor).
double PullOf(const std::vector<CurvePoint>& points, const std::vector<double>& corrections) {
  const size_t n = points.size();
  if (n < 4) return 0.5;
  double by_law = 0, by_neighbours = 0;
  for (size_t i = 0; i < n; ++i) by_law += corrections[i] * corrections[i];
  by_law /= static_cast<double>(n - 2);
  for (size_t i = 1; i + 1 < n; ++i) {
    const double left = std::log(points[i - 1].concurrency), right = std::log(points[i + 1].concurrency);
    const double share = (std::log(points[i].concurrency) - left) / (right - left);
    const double between = corrections[i - 1] + share * (corrections[i + 1] - corrections[i - 1]);
    by_neighbours += (corrections[i] - between) * (corrections[i] - between);
  }
  by_neighbours /= 1.5 * static_cast<double>(n - 2);
  const double sum = by_law + by_neighbours;
  return sum > 0 ? by_law / sum : 0;
}

}  // namespace

Curve MakeCurve(std::span<const CurvePoint> points, const Law& law) {
  Curve curve{.points = Merged(points), .law = law};
  for (const CurvePoint& point : curve.points) {
    curve.corrections.push_back(std::log(point.mean_ms_per_token / law.MsPerToken(point.concurrency)));
  }
  curve.pull = curve.points.empty() ? 0 : PullOf(curve.points, curve.corrections);
  return curve;
}

}  // namespace patella::science
