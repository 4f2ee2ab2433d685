#include "lib/science/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace patella::science {
namespace {

double FromTable(const std::array<double, 12>& table, double limit, int degrees) {
  if (degrees <= static_cast<int>(table.size())) return table[static_cast<size_t>(std::max(1, degrees) - 1)];
  return limit * (1 + (limit * limit + 1) / (4.0 * degrees));  // Cornish-Fisher: below 0.5 % off from here on
}

}  // namespace

double Normal(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.0)); }

double NormalQuantile(double probability) {
  double low = -8, high = 8;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (Normal(middle) < probability ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double Mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double StandardDeviation(std::span<const double> values) {
  if (values.size() < 2) return 0;
  const double mean = Mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double at = std::clamp(q, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

double Student975(int degrees) {
  static constexpr std::array<double, 12> kTable = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447,
                                                    2.365,  2.306, 2.262, 2.228, 2.201, 2.179};
  return FromTable(kTable, 1.960, degrees);
}

double Student95(int degrees) {
  static constexpr std::array<double, 12> kTable = {6.314, 2.920, 2.353, 2.132, 2.015, 1.943,
                                                    1.895, 1.860, 1.833, 1.812, 1.796, 1.782};
  return FromTable(kTable, 1.645, degrees);
}

Line NonNegativeLine(std::span<const double> x, std::span<const double> y, std::span<const double> weights) {
  double s = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    s += weights[i];
    sx += weights[i] * x[i];
    sy += weights[i] * y[i];
    sxx += weights[i] * x[i] * x[i];
    sxy += weights[i] * x[i] * y[i];
  }
  const double determinant = s * sxx - sx * sx;
  if (determinant > 1e-12 * s * sxx) {
    const Line line{(sxx * sy - sx * sxy) / determinant, (s * sxy - sx * sy) / determinant};
    if (line.intercept >= 0 && line.slope >= 0) return line;
    if (line.intercept < 0) return {0, sxx > 0 ? std::max(0.0, sxy / sxx) : 0};
  }
  return {s > 0 ? std::max(0.0, sy / s) : 0, 0};
}

}  // namespace patella::science
