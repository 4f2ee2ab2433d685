#include "cli/bench/conclusions.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "cli/bench/output.h"
#include "cli/bench/progress.h"
#include "cli/exit_code.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace patella::cli {
namespace {

using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

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

constexpr ReportLaw kLaw{.a_ms = 20, .b_ms = 2};

std::map<std::string, double> Concurrencies(const std::vector<ReportKnee>& knees) {
  std::map<std::string, double> at;
  for (const ReportKnee& knee : knees) at[knee.definition] = knee.concurrency;
  return at;
}

TEST(ConclusionsTest, TheKneesAreThoseOfEveryDefinition) {
  const science::Target target{.target_ms = 50};
  const auto at = Concurrencies(KneesOf(kLaw, KneeInputsOf({target}, 128, 64, 19'200)));
  EXPECT_THAT(at,
              UnorderedElementsAre(Pair("LatencyTarget", DoubleEq(15)), Pair("HalfLatency", DoubleNear(25.13, 0.01)),
                                   Pair("Kleinrock", DoubleEq(10)), Pair("Utilization", DoubleNear(23.33, 0.01)),
                                   Pair("DoublingGain25", DoubleEq(15)), Pair("KvCapacity", DoubleEq(100)),
                                   Pair("Timeout", DoubleEq(0.8 * 60 * 500 / 64))));
}

TEST(ConclusionsTest, AKneeIsShownWhereItsDefinitionApplies) {
  const science::Target first_token{.metric = science::LatencyMetric::kTimeToFirstToken, .target_ms = 50};
  const auto at = Concurrencies(KneesOf(kLaw, KneeInputsOf({first_token}, 128, 64, 0)));
  EXPECT_FALSE(at.contains("LatencyTarget")) << "the law does not tell of first tokens";
  EXPECT_FALSE(at.contains("KvCapacity")) << "unknown";
  EXPECT_TRUE(at.contains("Timeout"));
  const science::Target whole{.metric = science::LatencyMetric::kEndToEnd, .target_ms = 6400};
  EXPECT_DOUBLE_EQ(Concurrencies(KneesOf(kLaw, KneeInputsOf({whole}, 128, 64, 0))).at("LatencyTarget"), 40);
}

TEST(ConclusionsTest, AKneeBeyondTheKvCacheSaysSo) {
  const std::vector<ReportKnee> knees = KneesOf(kLaw, KneeInputsOf({}, 128, 64, 12 * 192));
  const auto half =
      std::find_if(knees.begin(), knees.end(), [](const ReportKnee& k) { return k.definition == "HalfLatency"; });
  ASSERT_NE(half, knees.end());
  EXPECT_DOUBLE_EQ(half->concurrency, 12);
  EXPECT_NE(half->meaning.find("so many fit the KV cache"), std::string::npos) << half->meaning;
}

TEST(ConclusionsTest, TheKneeBehindTheLimitIsTheChosenOne) {
  const science::KneeDefinition asked = science::KneeDefinition::kKleinrock;
  EXPECT_EQ(KneeBehind("TimePerOutputToken", asked), "LatencyTarget");
  EXPECT_EQ(KneeBehind("EndToEnd", asked), "LatencyTarget");
  EXPECT_EQ(KneeBehind("KvCapacity", asked), "KvCapacity");
  EXPECT_EQ(KneeBehind("Timeout", asked), "Timeout");
  EXPECT_EQ(KneeBehind("Knee", asked), "Kleinrock");
  EXPECT_EQ(KneeBehind("TimeToFirstToken", asked), "");
  EXPECT_EQ(KneeBehind("Ceiling", asked), "");
  for (const ReportKnee& knee : KneesOf(kLaw, {}, "Kleinrock"))
    EXPECT_EQ(knee.chosen, knee.definition == "Kleinrock") << knee.definition;
}

TEST(ConclusionsTest, TextJsonAndPageShowTheTargetsKneeAndTheTimeouts) {
  Report report{.title = "t", .points = OnTheLaw(20, 2, {1, 4, 8}), .law = kLaw};
  report.knees = KneesOf(kLaw, KneeInputsOf({{.target_ms = 50}}, 128, 64, 0), "LatencyTarget");
  const std::string text = ToText(report, false), json = ToJson(report), page = RenderHtml(report);
  EXPECT_NE(text.find("→ LatencyTarget"), std::string::npos) << text;
  EXPECT_NE(text.find("Timeout"), std::string::npos) << text;
  EXPECT_NE(json.find("\"definition\": \"LatencyTarget\""), std::string::npos) << json;
  EXPECT_NE(json.find("\"definition\": \"Timeout\""), std::string::npos) << json;
  EXPECT_NE(page.find("<th>LatencyTarget</th><td>15</td>"), std::string::npos) << page;
  EXPECT_NE(page.find("<th>Timeout</th><td>375</td>"), std::string::npos) << page;
}

TEST(ConclusionsTest, WhereBatchingGainsNothingThereIsNoKnee) {
  const std::vector<ReportKnee> knees = KneesOf({.a_ms = 6, .b_ms = 11}, {});
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
