// The published tables (testdata/*.csv): 19 latency-throughput curves of real servers. Their latency column is a 90th percentile, so Little's law
// cannot be asked of them and the throughput alone is fitted.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include "gtest/gtest.h"
#include "lib/science/curve.h"
#include "lib/science/knee.h"
#include "lib/science/statistics.h"

namespace patella::science {
namespace {

struct PublishedCurve {
  std::string name;
  int output_tokens = 0;
  std::vector<CurvePoint> points;
};

std::vector<std::map<std::string, std::string>> ReadCsv(const std::string& file) {
  std::ifstream in(std::string(PATELLA_TEST_DATA) + "/" + file);
  EXPECT_TRUE(in.is_open()) << file;
  std::vector<std::map<std::string, std::string>> rows;
  std::vector<std::string> header;
  for (std::string line; std::getline(in, line);) {
    std::vector<std::string> cells;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    if (header.empty()) {
      header = cells;
      continue;
    }
    std::map<std::string, std::string>& row = rows.emplace_back();
    for (size_t i = 0; i < std::min(header.size(), cells.size()); ++i) row[header[i]] = cells[i];
  }
  return rows;
}

// Consecutive rows that agree in everything but the load belong to one curve.
void AddCurves(const std::string& file, const std::string& load, const std::string& output,
               std::vector<PublishedCurve>& curves) {
  std::string last;
  for (auto& row : ReadCsv(file)) {
    const int c = std::stoi(row[load]);
    const CurvePoint point{c, std::stod(row["latency_ms_per_token"]), std::stod(row["throughput_tokens_per_s"]), 3 * c};
    const int tokens = std::stoi(row[output]);
    row.erase(load);
    row.erase("latency_ms_per_token");
    row.erase("throughput_tokens_per_s");
    std::string key = file;
    for (const auto& [column, cell] : row) key += " " + cell;
    if (key != last) curves.push_back({key, tokens, {}});
    last = key;
    curves.back().points.push_back(point);
  }
}

std::vector<PublishedCurve> AllCurves() {
  std::vector<PublishedCurve> curves;
  AddCurves("llama2_7b_payload.csv", "concurrent_requests", "output_tokens_per_request", curves);
  AddCurves("tp_tradeoff.csv", "concurrent_requests", "output_tokens_per_request_assumed", curves);
  AddCurves("horizontal.csv", "concurrent_requests_whole_endpoint", "output_tokens_per_request", curves);
  return curves;
}

constexpr FitOptions kThroughputOnly{.little_tolerance = kInfinity};

TEST(PublishedTablesTest, TheLawFitsTheThroughputOfTheNineteenCurves) {
  const std::vector<PublishedCurve> curves = AllCurves();
  ASSERT_EQ(curves.size(), 19u);
  std::vector<double> errors;
  for (const PublishedCurve& curve : curves) {
    const auto fit = FitLaw(curve.points, kThroughputOnly);
    ASSERT_TRUE(fit.ok()) << curve.name << fit.status();
    errors.push_back(fit->error_ratio);
    EXPECT_LT(fit->error_ratio, 0.06) << curve.name;
  }
  EXPECT_LE(Median(errors), 0.02);
}

TEST(PublishedTablesTest, TheTimeoutCeilingIsTheLastColumn) {
  int asked = 0;
  for (const PublishedCurve& curve : AllCurves()) {
    if (curve.name.starts_with("horizontal")) continue;  // whole endpoints, stopped by hand
    double peak = 0;
    for (const CurvePoint& point : curve.points) peak = std::max(peak, point.tokens_per_second);
    const double ceiling = TimeoutCeiling(peak, 60, curve.output_tokens);
    const int floored = 1 << static_cast<int>(std::floor(std::log2(ceiling)));
    ++asked;
    EXPECT_EQ(floored, curve.points.back().concurrency) << curve.name << ": ceiling " << ceiling;
  }
  EXPECT_EQ(asked, 16);
}

TEST(PublishedTablesTest, PercentilesInTheLatencyColumnAreNoticed) {
  const std::vector<PublishedCurve> curves = AllCurves();
  EXPECT_EQ(FitLaw(curves.front().points).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(PublishedTablesTest, ThreePointsPredictTheOthers) {
  std::vector<double> errors;
  for (const PublishedCurve& curve : AllCurves()) {
    const auto fit = FitLaw(curve.points, kThroughputOnly);
    ASSERT_TRUE(fit.ok());
    // Points at 1, 8 and the largest below the cap; the cap itself is what the engine would tell.
    std::vector<CurvePoint> known;
    int high = 0;
    for (const CurvePoint& point : curve.points) {
      if (point.concurrency <= fit->law.cap) high = point.concurrency;
    }
    for (const CurvePoint& point : curve.points) {
      if (point.concurrency == 1 || point.concurrency == 8 || point.concurrency == high) known.push_back(point);
    }
    if (known.size() < 2) continue;
    const auto part = FitLaw(known, {.little_tolerance = kInfinity, .find_cap = false, .known_cap = fit->law.cap});
    ASSERT_TRUE(part.ok());
    std::vector<double> of_curve;
    for (const CurvePoint& point : curve.points) {
      of_curve.push_back(std::abs(part->law.TokensPerSecond(point.concurrency) / point.tokens_per_second - 1));
    }
    errors.push_back(Mean(of_curve));
  }
  EXPECT_LE(Median(errors), 0.05);
}

}  // namespace
}  // namespace patella::science
