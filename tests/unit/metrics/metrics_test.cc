#include "lib/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>
#include <set>
#include <thread>

#include "lib/metrics/list.h"

namespace patella::metrics {
namespace {

using testing::HasSubstr;

TEST(MetricListTest, NamesAndHelpFollowTheRules) {
  std::set<std::string_view> names;
  const std::regex pattern("(patella|tgi|process|rest_client|workqueue|controller_runtime|leader_election)_[a-z0-9_]+");
  for (const MetricInfo& metric : MetricList()) {
    EXPECT_TRUE(names.insert(metric.name).second) << metric.name << " is listed twice";
    EXPECT_TRUE(std::regex_match(std::string(metric.name), pattern)) << metric.name;
    EXPECT_TRUE(metric.help.ends_with('.')) << metric.name;
    EXPECT_EQ(metric.type == MetricType::kHistogram, !metric.buckets.empty()) << metric.name;
    EXPECT_TRUE(std::is_sorted(metric.buckets.begin(), metric.buckets.end())) << metric.name;
    if (metric.name.starts_with("tgi_")) continue;  // TGI's names are kept as they are
    EXPECT_EQ(metric.type == MetricType::kCounter, metric.name.ends_with("_total")) << metric.name;
    for (const char* suffix : {"_count", "_sum", "_bucket"}) EXPECT_FALSE(metric.name.ends_with(suffix)) << metric.name;
  }
}

TEST(MetricsTest, ExposesWhatWasCounted) {
  Metrics metrics("patella-sidecar", "1.2.3", {{"model_name", "m"}});
  const Counter admitted =
      metrics.GetCounter("patella_admission_total", {{"outcome", "admitted"}, {"reason", "permit"}});
  admitted.Add();
  admitted.Add(2);
  metrics.GetGauge("patella_concurrency_limit").Set(11);
  metrics.GetHistogram("patella_time_per_output_token_seconds").Observe(0.03);
  const std::string text = metrics.Expose();
  EXPECT_THAT(text, HasSubstr("# TYPE patella_admission_total counter\n"));
  EXPECT_THAT(text, HasSubstr("patella_admission_total{model_name=\"m\",outcome=\"admitted\",reason=\"permit\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("patella_concurrency_limit{model_name=\"m\"} 11\n"));
  EXPECT_THAT(text, HasSubstr("patella_time_per_output_token_seconds_bucket{model_name=\"m\",le=\"0.05\"} 1\n"));
  EXPECT_THAT(text,
              HasSubstr("patella_build_info{model_name=\"m\",program=\"patella-sidecar\",version=\"1.2.3\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\nprocess_resident_memory_bytes "));
}

TEST(MetricsTest, TheSameNameAndLabelsAreTheSameMetric) {
  Metrics metrics("p", "1");
  metrics.GetCounter("tgi_request_count").Add();
  metrics.GetCounter("tgi_request_count").Add();
  EXPECT_EQ(metrics.GetCounter("tgi_request_count").Value(), 2);
}

TEST(MetricsTest, EveryMetricOfTheListCanBeTakenAndIsExposed) {
  Metrics metrics("p", "1");
  for (const MetricInfo& metric : MetricList()) {
    Labels labels;
    for (const std::string_view label : metric.labels) labels[std::string(label)] = "x";
    if (metric.type == MetricType::kCounter) metrics.GetCounter(metric.name, labels);
    if (metric.type == MetricType::kGauge) metrics.GetGauge(metric.name, labels);
    if (metric.type == MetricType::kHistogram) metrics.GetHistogram(metric.name, labels);
  }
  const std::string text = metrics.Expose();
  for (const MetricInfo& metric : MetricList())
    EXPECT_THAT(text, HasSubstr("# HELP " + std::string(metric.name) + " "));
}

TEST(MetricsTest, CountsFromManyThreads) {
  Metrics metrics("p", "1");
  const Counter counter = metrics.GetCounter("tgi_request_success");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1000; ++k) counter.Add();
      metrics.Expose();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.Value(), 4000);
}

TEST(MetricsDeathTest, AnUnknownNameOrWrongLabelsEndTheProgram) {
  Metrics metrics("p", "1");
  EXPECT_DEATH(metrics.GetCounter("patella_typo_total"), "no metric is called patella_typo_total");
  EXPECT_DEATH(metrics.GetGauge("tgi_request_count"), "another type");
  EXPECT_DEATH(metrics.GetCounter("tgi_request_failure"), "takes the labels");
  EXPECT_DEATH(metrics.GetCounter("tgi_request_failure", {{"error", "x"}}), "needs the label err");
}

}  // namespace
}  // namespace patella::metrics
