// The little statistics that the estimators share. Pure; inputs may be in any order.
#pragma once

#include <span>
#include <vector>

namespace patella::science {

double Mean(std::span<const double> values);               // 0 if empty
double StandardDeviation(std::span<const double> values);  // of the sample; 0 if fewer than two
double Median(std::vector<double> values);                 // 0 if empty
// Linear interpolation between order statistics; q in [0, 1]. 0 if empty.
double Quantile(std::vector<double> values, double q);
// Two-sided Student t quantile: 95 % (0.975) or 90 % (0.95) for `degrees` ≥ 1 degrees of freedom.
double Student975(int degrees);
double Student95(int degrees);
// Standard normal distribution: probability up to z, and the z of a probability in (0, 1).
double Normal(double z);
double NormalQuantile(double probability);

// Non-negative least squares of y on (1, x) with weights: returns the intercept and the slope, both ≥ 0.
struct Line {
  double intercept = 0;
  double slope = 0;
};
Line NonNegativeLine(std::span<const double> x, std::span<const double> y, std::span<const double> weights);

}  // namespace patella::science
