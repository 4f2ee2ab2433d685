#include "cli/bench/conclusions.h"

#include <algorithm>
#include <cmath>

#include "lib/adapters/text.h"

namespace patella::cli {
namespace {

constexpr double kHalfLatency = 2.513;   // c·b/a at which R is twice its mean over all lower throughputs
constexpr double kDoublingGain = 1.5;    // c·b/a at which twice the requests bring a quarter more throughput
constexpr double kNoKnee = 1;            // a/b below this: batching gains nothing

double Ms(const ReportLaw& law, double c) { return law.a_ms + law.b_ms * c; }

}  // namespace

ReportPoint PointOf(const loadgen::LoadSummary& summary, std::string phase) {
  ReportPoint point;
  point.concurrency = summary.concurrency;
  point.tokens_per_second = summary.tokens_per_second;
  point.tokens_per_second_ci95 = summary.tokens_per_second_ci95;
  point.mean_ms_per_token = summary.mean_ms_per_token;
  if (summary.completed > 0) {
    point.p90_tpot_ms = summary.tpot_ms.p90;
    point.p90_ttft_ms = summary.ttft_ms.p90;
    point.p90_e2e_ms = summary.e2e_ms.p90;
    point.little_ratio = summary.little_ratio;
  }
  point.requests = summary.completed;
  point.refused = summary.refused;
  point.phase = std::move(phase);
  return point;
}

std::optional<ReportLaw> FitReportLaw(const std::vector<ReportPoint>& points) {
  double weights = 0, sum_c = 0, sum_r = 0, sum_cc = 0, sum_cr = 0;
  int used = 0;
  for (const ReportPoint& point : points) {
    if (!(point.mean_ms_per_token > 0)) continue;
    const double c = point.concurrency, r = point.mean_ms_per_token, weight = 1 / (r * r);
    weights += weight, sum_c += weight * c, sum_r += weight * r, sum_cc += weight * c * c, sum_cr += weight * c * r;
    ++used;
  }
  const double determinant = weights * sum_cc - sum_c * sum_c;
  if (used < 2 || determinant <= 1e-12 * weights * sum_cc) return std::nullopt;
  ReportLaw law;
  law.b_ms = (weights * sum_cr - sum_c * sum_r) / determinant;
  law.a_ms = (sum_r - law.b_ms * sum_c) / weights;
  if (law.a_ms < 0) {  // a line through the origin: batching gains nothing
    law.a_ms = 0;
    law.b_ms = sum_cr / sum_cc;
  }
  if (!(law.b_ms > 0)) return std::nullopt;
  double squares = 0;
  for (const ReportPoint& point : points) {
    if (!(point.mean_ms_per_token > 0)) continue;
    const double off = Ms(law, point.concurrency) / point.mean_ms_per_token - 1;
    squares += off * off / used;
  }
  law.error_ratio = std::sqrt(squares);
  return law;
}

std::vector<ReportKnee> KneesOf(const ReportLaw& law, std::optional<double> target_limit, int kv_requests) {
  const double knee = law.a_ms / law.b_ms;
  std::vector<ReportKnee> knees;
  if (target_limit) {
    knees.push_back({"Latency target", *target_limit, "the most requests at once that keep every target", true});
  }
  if (knee < kNoKnee) {
    knees.push_back({"No knee", NAN, "one request alone already uses the machine (a/b < 1): more at once only wait for each other"});
  } else {
    knees.push_back({"Power (Kleinrock)", knee, "throughput over latency is greatest: latency has doubled, half of the top throughput"});
    knees.push_back({"Doubling gains < 25 %", kDoublingGain * knee, "twice the requests bring less than a quarter more throughput"});
    knees.push_back({"Utilisation 0.7", 0.7 / 0.3 * knee, "70 % of the throughput that no concurrency exceeds"});
    knees.push_back({"Half-latency", kHalfLatency * knee, "latency is twice its mean over all lower throughputs"});
  }
  if (kv_requests > 0) {
    knees.push_back({"KV cache", static_cast<double>(kv_requests), "so many requests of this size fit the server's KV cache"});
  }
  return knees;
}

std::string MeaningOf(const Report& report) {
  if (report.points.empty()) return "Nothing was measured.";
  const auto best = std::max_element(report.points.begin(), report.points.end(), [](const ReportPoint& a, const ReportPoint& b) {
    return a.tokens_per_second < b.tokens_per_second;
  });
  if (!report.law) {
    return Cat("At ", best->concurrency, " at once: ", Number(best->tokens_per_second), " tokens/s, ", Number(best->mean_ms_per_token),
               " ms per token; measure more concurrencies (--concurrency 1,2,4,8) to see where the knee is.");
  }
  const double top = 1e3 / report.law->b_ms, knee = report.law->a_ms / report.law->b_ms;
  const std::string most = Cat("No number of requests at once brings more than ", Number(top), " tokens/s here; ");
  if (knee < kNoKnee) return most + "one alone nearly does, so batching gains nothing: keep the limit at 1 or 2, or at what your latency target allows.";
  const double half = kHalfLatency * knee;
  if (half > best->concurrency * 1.5) {
    return Cat(most, "the knee (half-latency) lies at about ", Number(half), ", beyond what was measured: try --concurrency up to ",
               static_cast<int>(std::ceil(half)), ".");
  }
  return Cat(most, "at the knee (half-latency, ", Number(half), " at once) it is ", Number(1e3 * half / Ms(*report.law, half)), " at ",
             Number(Ms(*report.law, half)), " ms per token; beyond, waiting grows faster than work.");
}

}  // namespace patella::cli
