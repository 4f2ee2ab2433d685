#include "lib/science/verdict.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace patella::science {

std::string_view NameOf(LatencyMetric metric) {
  switch (metric) {
    case LatencyMetric::kTimePerOutputToken:
      return "TimePerOutputToken";
    case LatencyMetric::kTimeToFirstToken:
      return "TimeToFirstToken";
    case LatencyMetric::kEndToEnd:
      return "EndToEnd";
  }
  return "";
}

std::string_view NameOf(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return "Pass";
    case Verdict::kFail:
      return "Fail";
    case Verdict::kUndecided:
      return "Undecided";
  }
  return "";
}

std::string NameOf(const Target& target) {
  return absl::StrFormat("%s p%.4g", std::string(NameOf(target.metric)), 100 * target.quantile);
}

std::string TextOf(const Target& target) { return absl::StrFormat("%s ≤ %.6g ms", NameOf(target), target.target_ms); }

double TightestMsPerToken(std::span<const Target> targets, int output_tokens) {
  double tightest = kInfinity;
  for (const Target& t : targets) {
    if (t.metric == LatencyMetric::kTimePerOutputToken) tightest = std::min(tightest, t.target_ms);
    if (t.metric == LatencyMetric::kEndToEnd) tightest = std::min(tightest, t.target_ms / output_tokens);
  }
  return tightest;
}

double NearestTargetMs(double quantile_ms) { return std::max(1.0, std::ceil(quantile_ms - 1e-9)); }

Interval Wilson(int successes, int n, double z) {
  if (n <= 0) return {0, 1};
  const double share = static_cast<double>(successes) / n, z2 = z * z;
  const double center = (share + z2 / (2.0 * n)) / (1 + z2 / n);
  const double half = z / (1 + z2 / n) * std::sqrt(share * (1 - share) / n + z2 / (4.0 * n * n));
  return {std::max(0.0, center - half), std::min(1.0, center + half)};
}

Verdict SequentialVerdict(int violations, int n, double quantile) {
  const double allowed = std::clamp(1 - quantile, 1e-6, 0.5);
  const double good = 0.5 * allowed, bad = 1.5 * allowed;
  const double ratio = violations * std::log(bad / good) + (n - violations) * std::log((1 - bad) / (1 - good));
  const double decided = std::log(0.95 / 0.05);
  if (ratio <= -decided) return Verdict::kPass;
  if (ratio >= decided) return Verdict::kFail;
  return Verdict::kUndecided;
}

Verdict FinalVerdict(int violations, int n, double quantile) {
  if (n <= 0) return Verdict::kUndecided;
  const Verdict sequential = SequentialVerdict(violations, n, quantile);
  if (sequential != Verdict::kUndecided) return sequential;
  return violations <= (1 - quantile) * n + 1e-9 ? Verdict::kPass : Verdict::kFail;
}

}  // namespace patella::science
