#include "cli/bench/conclusions.h"

#include <algorithm>
#include <cmath>

#include "cli/bench/output.h"
#include "cli/bench/progress.h"
#include "cli/exit_code.h"
#include "gtest/gtest.h"

namespace patella::cli {
namespace {

std::vector<ReportPoint> OnTheLaw(double a, double b, std::initializer_list<int> levels) {
  std::vector<ReportPoint> points;
  for (int c : levels)
    points.push_back({.concurrency = c, .tokens_per_second = 1e3 * c / (a + b * c), .mean_ms_per_token = a + b * c});
  return points;
}

TEST(ConclusionsTest, AnExactLawIsFoundExactly) {
  const ReportLaw law = FitReportLaw(OnTheLaw(9, 3, {1, 2, 4, 8})).value();
  EXPECT_NEAR(law.a_ms, 9, 1e-9);
  EXPECT_NEAR(law.b_ms, 3, 1e-9);
  EXPECT_NEAR(law.error_ratio, 0, 1e-9);
}

TEST(ConclusionsTest, OneConcurrencyIsNoLaw) {
  EXPECT_FALSE(FitReportLaw(OnTheLaw(9, 3, {4})).has_value());
  EXPECT_FALSE(FitReportLaw(OnTheLaw(9, 3, {4, 4, 4})).has_value());
  EXPECT_FALSE(FitReportLaw({}).has_value());
}

TEST(ConclusionsTest, KneesAreTheClosedFormsOfTheLaw) {
  const std::vector<ReportKnee> knees = KneesOf({.a_ms = 20, .b_ms = 2}, 12, 100);
  const auto at = [&](const std::string& name) {
    return std::find_if(knees.begin(), knees.end(), [&](const ReportKnee& k) { return k.definition == name; })
        ->concurrency;
  };
  EXPECT_DOUBLE_EQ(at("Power (Kleinrock)"), 10);
  EXPECT_NEAR(at("Half-latency"), 25.13, 0.01);
  EXPECT_DOUBLE_EQ(at("Latency target"), 12);
  EXPECT_DOUBLE_EQ(at("KV cache"), 100);
}

TEST(ConclusionsTest, WhereBatchingGainsNothingThereIsNoKnee) {
  const std::vector<ReportKnee> knees = KneesOf({.a_ms = 6, .b_ms = 11}, std::nullopt, 0);
  ASSERT_EQ(knees.size(), 1u);
  EXPECT_EQ(knees[0].definition, "No knee");
  EXPECT_TRUE(std::isnan(knees[0].concurrency));
}

TEST(OutputTest, JsonHasNullsForWhatIsUnknown) {
  Report report;
  report.title = "t";
  report.knees = {{"No knee", NAN, "why"}};
  const std::string json = ToJson(report);
  EXPECT_NE(json.find("\"concurrency\": null"), std::string::npos) << json;
  EXPECT_NE(json.find("\"limit\": null"), std::string::npos) << json;
}

TEST(JsonTest, UrlsAreThereOnlyWhileSomethingServes) {
  Report report;
  EXPECT_EQ(ToJson(report).find("\"urls\""), std::string::npos);
  report.urls = {{"clients", "http://127.0.0.1:8080"}, {"metrics", "http://127.0.0.1:8081/metrics"}};
  const std::string json = ToJson(report);
  EXPECT_NE(json.find("\"clients\": \"http://127.0.0.1:8080\""), std::string::npos) << json;
  EXPECT_NE(json.find("\"metrics\": \"http://127.0.0.1:8081/metrics\""), std::string::npos) << json;
}

TEST(ExitCodeTest, EachWayToFailHasItsOwn) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::OutOfRangeError("")), 4);
  EXPECT_EQ(ExitCodeOf(absl::AbortedError("")), 6);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), 7);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), 8);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 1);
}

TEST(ProgressBarTest, GrowsInHalves) {
  EXPECT_EQ(ProgressBar(0, 4), "    ");
  EXPECT_EQ(ProgressBar(1, 4), "━━━━");
  EXPECT_EQ(ProgressBar(0.5, 4), "━━  ");
}

}  // namespace
}  // namespace patella::cli
