// FitLaw: for each candidate cap B a weighted linear problem in (a, b), re-weighted until it is the log-residual Huber fit; then the best B.
#include <algorithm>
#include <cmath>
#include <set>

#include "lib/science/curve.h"
#include "lib/science/statistics.h"

namespace patella::science {
namespace {

constexpr double kHuber = 1.345;      // 95 % efficient under Gaussian noise
constexpr double kFloor = 0.005;      // nothing is measured better than to half a percent
constexpr double kCapMustGain = 0.8;  // a cap is believed if it removes at least a fifth of the loss
constexpr int kCandidates = 240;
constexpr int kReweightings = 12;

struct Candidate {
  Law law;
  std::vector<double> residuals;
  std::vector<double> weights;
  double loss = kInfinity;
};

double Scale(const std::vector<double>& residuals) {
  std::vector<double> sizes;
  for (const double r : residuals) sizes.push_back(std::abs(r));
  return std::max(kFloor, 1.4826 * Median(std::move(sizes)));
}

double HuberLoss(const std::vector<double>& residuals, double scale) {
  double loss = 0;
  for (const double r : residuals) {
    const double z = std::abs(r) / scale;
    loss += z <= kHuber ? 0.5 * z * z : kHuber * (z - 0.5 * kHuber);
  }
  return loss * scale * scale;
}

// ms per token as the throughput tells it: with Little's law the same as the latency, and what percentile tables leave intact.
double MsOf(const CurvePoint& point) { return 1000.0 * point.concurrency / point.tokens_per_second; }

Candidate FitAtCap(std::span<const CurvePoint> points, double cap, double fixed_scale) {
  const size_t n = points.size();
  std::vector<double> x(n), y(n), weights(n);
  Candidate best{.law = {.cap = cap}};
  best.weights.assign(n, 1.0);
  best.residuals.assign(n, 0.0);
  for (int round = 0; round < kReweightings; ++round) {
    for (size_t i = 0; i < n; ++i) {
      const double c = points[i].concurrency, beyond = std::max(1.0, c / cap);
      x[i] = std::min(c, cap);
      y[i] = MsOf(points[i]) / beyond;
      // d ln R = dR/R at the fitted value: relative errors become log residuals as the rounds go on.
      const double at = round == 0 ? y[i] : 0.5 * (y[i] + best.law.a_ms + best.law.b_ms * x[i]);
      weights[i] = best.weights[i] / (at * at);
    }
    const Line line = NonNegativeLine(x, y, weights);
    best.law.a_ms = line.intercept;
    best.law.b_ms = line.slope;
    for (size_t i = 0; i < n; ++i)
      best.residuals[i] = std::log(MsOf(points[i]) / best.law.MsPerToken(points[i].concurrency));
    const double scale = fixed_scale > 0 ? fixed_scale : Scale(best.residuals);
    for (size_t i = 0; i < n; ++i) {
      best.weights[i] = std::min(1.0, kHuber * scale / std::max(1e-12, std::abs(best.residuals[i])));
    }
  }
  return best;
}

// The same scale must judge all candidates, else the one with the widest scatter would win. It is the scatter of the best plain fit.
Candidate BestOverCaps(std::span<const CurvePoint> points, const FitOptions& options, Interval& cap) {
  int most = 0, least = points.front().concurrency;
  for (const CurvePoint& point : points) {
    most = std::max(most, point.concurrency);
    least = std::min(least, point.concurrency);
  }
  std::vector<double> caps = {options.known_cap};
  if (options.find_cap && points.size() >= 4) {
    const double low = std::log(std::max(1.0, 1.2 * least)), high = std::log(std::min<double>(most, options.known_cap));
    for (int i = 0; i < kCandidates && high > low; ++i) {
      caps.push_back(std::exp(low + (high - low) * (i + 0.5) / kCandidates));
    }
  }
  std::vector<Candidate> candidates;
  for (const double candidate : caps) candidates.push_back(FitAtCap(points, candidate, 0));
  double scale = kInfinity;
  for (const Candidate& candidate : candidates) {
    double squares = 0;
    for (const double r : candidate.residuals) squares += r * r;
    scale = std::min(scale, std::sqrt(squares / static_cast<double>(points.size())));
  }
  scale = std::max(kFloor, scale);
  for (Candidate& candidate : candidates) candidate.loss = HuberLoss(candidate.residuals, scale);
  size_t best = 0;
  for (size_t i = 1; i < candidates.size(); ++i) {
    const double handicap = best == 0 ? kCapMustGain : 1.0;
    if (candidates[i].loss < handicap * candidates[best].loss) best = i;
  }
  // Profile: every cap whose loss is not significantly worse.
  const double degrees = std::max(1.0, static_cast<double>(points.size()) - 3);
  const double t = Student95(static_cast<int>(degrees));
  const double limit = std::max(candidates[best].loss, 0.5 * kFloor * kFloor) * (1 + t * t / degrees);
  cap = {candidates[best].law.cap, candidates[best].law.cap};
  for (const Candidate& candidate : candidates) {
    if (candidate.loss > limit) continue;
    cap.low = std::min(cap.low, candidate.law.cap);
    cap.high = std::max(cap.high, candidate.law.cap);
  }
  return candidates[best];
}

void SetIntervals(std::span<const CurvePoint> points, const Candidate& best, Fit& fit) {
  double s = 0, sx = 0, sxx = 0, squares = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const double x = std::min<double>(points[i].concurrency, best.law.cap);
    const double at = best.law.a_ms + best.law.b_ms * x;
    const double weight = best.weights[i] / (at * at);
    s += weight;
    sx += weight * x;
    sxx += weight * x * x;
    squares += best.weights[i] * best.residuals[i] * best.residuals[i];
  }
  const int parameters = std::isfinite(best.law.cap) ? 3 : 2;
  const int degrees = std::max(1, static_cast<int>(points.size()) - parameters);
  const double variance = std::max(kFloor * kFloor, squares / degrees);
  const double determinant = s * sxx - sx * sx;
  const double t = Student95(degrees);
  const double da = determinant > 0 ? t * std::sqrt(variance * sxx / determinant) : kInfinity;
  const double db = determinant > 0 ? t * std::sqrt(variance * s / determinant) : kInfinity;
  fit.a_ms = {std::max(0.0, best.law.a_ms - da), best.law.a_ms + da};
  fit.b_ms = {std::max(0.0, best.law.b_ms - db), best.law.b_ms + db};
}

}  // namespace

absl::StatusOr<Fit> FitLaw(std::span<const CurvePoint> points, const FitOptions& options) {
  std::set<int> distinct;
  for (const CurvePoint& point : points) {
    if (point.concurrency < 1 || !(point.tokens_per_second > 0) || !(point.mean_ms_per_token > 0)) {
      return absl::InvalidArgumentError(
          "every point needs a concurrency of at least 1 and positive throughput and latency");
    }
    distinct.insert(point.concurrency);
  }
  if (distinct.size() < 2)
    return absl::InvalidArgumentError("the law needs points at two different concurrencies at least");
  if (std::isfinite(options.little_tolerance)) {
    if (absl::Status status = CheckLittle(points, options.little_tolerance); !status.ok()) return status;
  }
  Fit fit;
  const Candidate best = BestOverCaps(points, options, fit.cap);
  fit.law = best.law;
  fit.residuals = best.residuals;
  for (const double r : fit.residuals) fit.error_ratio += std::abs(std::expm1(r)) / static_cast<double>(points.size());
  SetIntervals(points, best, fit);
  return fit;
}

}  // namespace patella::science
