#include "lib/loadgen/summary.h"

#include <cmath>

#include "gtest/gtest.h"

namespace patella::loadgen {
namespace {

RequestRecord Record(double begin, double first, double last, int tokens) {
  return {.intended_s = begin,
          .sent_s = begin,
          .first_token_s = first,
          .last_token_s = last,
          .end_s = last,
          .http_status = 200,
          .output_tokens = tokens};
}

TEST(QuantileTest, InterpolatesBetweenOrderStatistics) {
  EXPECT_DOUBLE_EQ(Quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4, 5}, 1), 5);
  EXPECT_DOUBLE_EQ(Quantile({1, 2, 3, 4, 5}, 0), 1);
  EXPECT_DOUBLE_EQ(Quantile({7}, 0.9), 7);
  EXPECT_TRUE(std::isnan(Quantile({}, 0.5)));
}

TEST(SummaryTest, TimePerOutputTokenLeavesTheFirstTokenOut) {
  EXPECT_DOUBLE_EQ(Record(0, 1, 2, 11).tpot_ms(), 100);
  EXPECT_DOUBLE_EQ(Record(0, 1, 2, 11).ttft_ms(), 1000);
  EXPECT_DOUBLE_EQ(Record(0, 1, 1, 1).tpot_ms(), 0);
}

TEST(SummaryTest, LatencyCountsFromTheIntendedTime) {
  RequestRecord late = Record(1, 3, 4, 5);
  late.sent_s = 2.5;
  EXPECT_DOUBLE_EQ(late.ttft_ms(), 2000);
}

TEST(SummaryTest, GoodputCountsOnlyRequestsThatMetEveryTarget) {
  LoadResult result;
  result.concurrency = 1;
  result.window_end_s = 10;
  result.records = {Record(0, 1, 2, 11), Record(2, 3, 7, 11), Record(7, 9, 10, 11)};
  result.records.push_back(
      {.intended_s = 1, .end_s = 1, .http_status = 429, .code = absl::StatusCode::kResourceExhausted});
  result.arrivals = {{1, 11}, {7, 11}, {10, 11}};
  const LoadSummary summary = Summarize(
      result, {{LatencyMetric::kTimePerOutputToken, 0.9, 150}, {LatencyMetric::kTimeToFirstToken, 0.9, 1500}});
  EXPECT_EQ(summary.completed, 3);
  EXPECT_EQ(summary.refused, 1);
  EXPECT_DOUBLE_EQ(summary.goodput, 1.1);  // only the first one
  EXPECT_NEAR(summary.attainment, 1.0 / 3, 1e-12);
  EXPECT_DOUBLE_EQ(summary.tokens_per_second, 3.3);
  EXPECT_NEAR(summary.little_ratio, 1, 1e-12);  // one client that never pauses
}

TEST(SummaryTest, WarmUpIsNotMeasured) {
  LoadResult result;
  result.window_begin_s = 5;
  result.window_end_s = 10;
  result.records = {Record(0, 1, 2, 11), Record(5, 6, 7, 11)};
  result.records[0].measured = false;
  EXPECT_EQ(Summarize(result, {}).completed, 1);
}

TEST(ParseTargetTest, ReadsMetricQuantileAndLimit) {
  const LatencyTarget target = ParseTarget("tpot:p90:50").value();
  EXPECT_EQ(target.metric, LatencyMetric::kTimePerOutputToken);
  EXPECT_DOUBLE_EQ(target.quantile, 0.9);
  EXPECT_DOUBLE_EQ(target.target_ms, 50);
  EXPECT_DOUBLE_EQ(ParseTarget("TimeToFirstToken:p99.9:1.5s")->target_ms, 1500);
  EXPECT_DOUBLE_EQ(ParseTarget("e2e:P50:800ms")->target_ms, 800);
  EXPECT_EQ(ToText(target), "p90 time per output token ≤ 50 ms");
}

TEST(ParseTargetTest, SaysWhatIsWrong) {
  for (const char* text : {"", "tpot", "tpot:p90", "tpot:90:50", "tpot:p0:50", "tpot:p100:50", "tpot:p90:-5",
                           "tpot:p90:x", "itl:p90:50", "tpot:p90:50:1", "tpot:p90:nan", "tpot:p90:inf"}) {
    const absl::Status status = ParseTarget(text).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_NE(std::string(status.message()).find("for example tpot:p90:50ms"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace patella::loadgen
