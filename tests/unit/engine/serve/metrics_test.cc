// TGI's dashboards find every metric under its name, from the first scrape on, and the figures are those of the traffic.
#include <gtest/gtest.h>

#include "engine/serve/engine_metrics.h"
#include "lib/metrics/list.h"

namespace patella::engine {
namespace {

double Value(const std::string& text, const std::string& series) {
  const size_t at = text.find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size() + 2));
}

std::string Render(EngineMetrics& metrics, const SchedulerStats& schedule = {}) {
  EngineStats stats;
  stats.schedule = schedule;
  stats.batch = 2;
  return metrics.Render(stats, {}, 0);
}

TEST(EngineMetricsTest, EveryTgiMetricOfTheListIsThereBeforeTheFirstRequest) {
  EngineMetrics metrics("1");
  const std::string text = Render(metrics);
  for (const metrics::MetricInfo& metric : metrics::MetricList()) {
    if (!metric.name.starts_with("tgi_") && !metric.name.starts_with("patella_engine_")) continue;
    const std::string sample =
        "\n" + std::string(metric.name) + (metric.type == metrics::MetricType::kHistogram ? "_sum" : "");
    EXPECT_NE(text.find(sample), std::string::npos) << metric.name;
  }
}

TEST(EngineMetricsTest, RequestsAreCountedWithTheirTimesAndLengths) {
  EngineMetrics metrics("1");
  metrics.CountRequest();
  metrics.CountRequest();
  metrics.CountFailure("overloaded");
  const std::vector<std::vector<int32_t>> prompts = {{1, 2, 3}, {4}};
  metrics.CountAdmitted(0.002, prompts, 7);
  metrics.CountSuccess(
      {.total_s = 3, .queue_s = 1, .first_token_s = 1.5, .inference_s = 2, .input_tokens = 4, .generated_tokens = 10});
  const std::string text = Render(metrics, {.running = 2, .waiting = 5, .leased_tokens = 64, .capacity_tokens = 1000});
  EXPECT_EQ(Value(text, "tgi_request_count"), 2);
  EXPECT_EQ(Value(text, "tgi_request_success"), 1);
  EXPECT_EQ(Value(text, "tgi_request_failure{err=\"overloaded\"}"), 1);
  EXPECT_EQ(Value(text, "tgi_request_failure{err=\"dropped\"}"), 0);
  EXPECT_EQ(Value(text, "tgi_request_duration_sum"), 3);
  EXPECT_EQ(Value(text, "tgi_request_queue_duration_sum"), 1);
  EXPECT_EQ(Value(text, "tgi_request_inference_duration_sum"), 2);
  EXPECT_EQ(Value(text, "tgi_request_validation_duration_sum"), 0.002);
  EXPECT_EQ(Value(text, "tgi_request_mean_time_per_token_duration_sum"), 0.2);
  EXPECT_EQ(Value(text, "tgi_request_time_to_first_token_duration_sum"), 1.5);
  EXPECT_EQ(Value(text, "tgi_request_input_length_count"), 2) << "one a prompt";
  EXPECT_EQ(Value(text, "tgi_request_input_length_sum"), 4);
  EXPECT_EQ(Value(text, "tgi_request_max_new_tokens_sum"), 14);
  EXPECT_EQ(Value(text, "tgi_request_generated_tokens_sum"), 10);
  EXPECT_EQ(Value(text, "tgi_queue_size"), 5);
  EXPECT_EQ(Value(text, "tgi_batch_current_size"), 2);
  EXPECT_EQ(Value(text, "tgi_batch_current_max_tokens"), 64);
  EXPECT_EQ(Value(text, "tgi_batch_max_total_tokens"), 1000);
}

TEST(EngineMetricsTest, StepsAreCountedByMethod) {
  EngineMetrics metrics("1");
  metrics.CountStep(
      {.prefill = true, .batch = 3, .admitted = 3, .plan_s = 1, .forward_s = 4, .sample_s = 2, .commit_s = 1});
  metrics.CountStep({.prefill = true, .batch = 4, .admitted = 1, .forward_s = 4});
  metrics.CountStep({.batch = 4, .forward_s = 2});
  metrics.CountStep({.ok = false, .batch = 4, .forward_s = 2});
  const std::string text = Render(metrics);
  EXPECT_EQ(Value(text, "tgi_batch_inference_count{method=\"prefill\"}"), 2);
  EXPECT_EQ(Value(text, "tgi_batch_inference_count{method=\"decode\"}"), 2);
  EXPECT_EQ(Value(text, "tgi_batch_inference_success{method=\"decode\"}"), 1);
  EXPECT_EQ(Value(text, "tgi_batch_inference_failure{method=\"decode\"}"), 1);
  EXPECT_EQ(Value(text, "tgi_batch_inference_duration_sum{method=\"prefill\"}"), 12);
  EXPECT_EQ(Value(text, "tgi_batch_forward_duration_sum{method=\"prefill\"}"), 8);
  EXPECT_EQ(Value(text, "tgi_batch_decode_duration_sum{method=\"prefill\"}"), 2);
  EXPECT_EQ(Value(text, "tgi_batch_filter_duration_sum{method=\"prefill\"}"), 1);
  EXPECT_EQ(Value(text, "tgi_batch_concat_duration_sum{method=\"prefill\"}"), 1);
  EXPECT_EQ(Value(text, "tgi_batch_next_size_count"), 2);
  EXPECT_EQ(Value(text, "tgi_batch_next_size_sum"), 4);
  EXPECT_EQ(Value(text, "tgi_batch_concat{reason=\"chunking\"}"), 1) << "the first had no running batch to join";
}

}  // namespace
}  // namespace patella::engine
