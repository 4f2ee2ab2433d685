// Probes against the simulated server: what the ramp predicts is what long closed loops measure.
#include <cmath>
#include <cstdio>

#include "gtest/gtest.h"
#include "lib/science/closed_loop.h"
#include "lib/science/ramp.h"
#include "lib/science/statistics.h"
#include "simulator.h"
#include "tests/unit/seed.h"

namespace patella::science {
namespace {

struct Workload {
  int input_tokens = 256, output_tokens = 128;
};

ClosedLoopResult LongRun(ServerConfig server_config, const Workload& workload, int concurrency, double waves = 6) {
  server_config.seed += 1000;
  Server server(server_config);
  ClosedLoop loop({.concurrency = concurrency,
                   .input_tokens = workload.input_tokens,
                   .output_tokens = workload.output_tokens,
                   .half_width = 0,
                   .max_waves = waves,
                   .min_requests = 12,
                   .max_seconds = 1e6});
  Drive(server, loop, 1e6);
  const auto result = loop.Result();
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *result : ClosedLoopResult{};
}

struct Errors {
  std::vector<double> end_to_end, per_output;
};

// Relative errors of the ramp's mean latencies at several c up to the largest level.
Errors CompareWithLongRuns(const ServerConfig& server_config, const Workload& workload, const RampResult& ramp) {
  Errors errors;
  if (ramp.levels.empty()) return errors;
  const int top = ramp.levels.back().concurrency;
  for (int c = 1; c <= top; c = std::max(c + 1, c * 3 / 2)) {
    const ClosedLoopResult truth = LongRun(server_config, workload, c);
    errors.end_to_end.push_back(std::abs(ramp.end_to_end.MsPerToken(c) / truth.mean_ms_per_token - 1));
    errors.per_output.push_back(
        std::abs(ramp.time_per_output_token.MsPerToken(c) / truth.MeanMs(LatencyMetric::kTimePerOutputToken) - 1));
  }
  return errors;
}

RampResult RunRamp(const ServerConfig& server_config, const RampConfig& config, bool expect_ok = true) {
  Server server(server_config);
  Ramp ramp(config);
  Drive(server, ramp, 600);
  EXPECT_TRUE(ramp.done());
  const auto result = ramp.Result();
  EXPECT_TRUE(!expect_ok || result.ok()) << result.status();
  return ramp.last_result();
}

constexpr int kSeeds = 10;

struct Case {
  const char* name;
  ServerConfig server;
  Workload workload;
};

std::vector<Case> Cases() {
  return {
      {"stalling", {.a_ms = 16, .b_ms = 0.4}, {}},
      {"stalling, dear prefill", {.a_ms = 12, .b_ms = 0.3, .prefill_ms = 5, .prefill_ms_per_token = 0.3}, {}},
      {"chunked", {.a_ms = 16, .b_ms = 0.4, .chunk_tokens = 512}, {}},
      {"chunked, small chunks", {.a_ms = 12, .b_ms = 0.3, .prefill_ms_per_token = 0.2, .chunk_tokens = 96}, {}},
      {"with context cost", {.a_ms = 14, .b_ms = 0.2, .context_ms_per_token = 0.001}, {}},
      {"short answers", {.a_ms = 10, .b_ms = 0.5, .prefill_ms_per_token = 0.1, .chunk_tokens = 256}, {128, 32}},
      {"several tokens at once", {.a_ms = 8, .b_ms = 0.4, .chunk_tokens = 256, .tokens_per_chunk = 4}, {}},
      {"padded", {.a_ms = 16, .b_ms = 0.4, .padding = 4}, {}},
      {"small CPU server", {.a_ms = 6, .b_ms = 1.2, .prefill_ms_per_token = 0.4, .chunk_tokens = 128}, {128, 64}},
  };
}

TEST(RampAccuracyTest, PredictsMeanLatencyWithinFivePercent) {
  std::vector<double> all, all_per_output;
  for (const Case& one : Cases()) {
    ServerConfig server = one.server;
    std::vector<double> of_case, of_case_per_output, of_runs;
    double seconds = 0, tokens = 0;
    const uint64_t first = Seed(1);
    for (server.seed = first; server.seed < first + kSeeds; ++server.seed) {
      const RampResult ramp = RunRamp(server, {.input_tokens = one.workload.input_tokens,
                                               .output_tokens = one.workload.output_tokens,
                                               .max_concurrency = 32});
      const Errors errors = CompareWithLongRuns(server, one.workload, ramp);
      of_case.insert(of_case.end(), errors.end_to_end.begin(), errors.end_to_end.end());
      of_case_per_output.insert(of_case_per_output.end(), errors.per_output.begin(), errors.per_output.end());
      of_runs.push_back(Mean(errors.end_to_end));
      seconds += ramp.seconds / kSeeds;
      tokens += static_cast<double>(ramp.output_tokens) / kSeeds;
      EXPECT_LT(ramp.seconds - ramp.warm_up_seconds, 16 * (1 + ramp.void_passes)) << one.name;
    }
    std::printf("%-24s end to end %4.1f %%, per output token %4.1f %%, worst %4.1f %%; %4.1f s, %5.0f tokens\n",
                one.name, 100 * Mean(of_case), 100 * Mean(of_case_per_output), 100 * Quantile(of_case, 1), seconds,
                tokens);
    EXPECT_LT(Mean(of_case), 0.05) << one.name;
    EXPECT_LT(Quantile(of_runs, 0.95), 0.08) << one.name;
    EXPECT_LT(Mean(of_case_per_output), 0.05) << one.name;
    all.insert(all.end(), of_case.begin(), of_case.end());
    all_per_output.insert(all_per_output.end(), of_case_per_output.begin(), of_case_per_output.end());
  }
  EXPECT_LT(Mean(all), 0.04);
  EXPECT_LT(Mean(all_per_output), 0.04);
}

}  // namespace
}  // namespace patella::science
