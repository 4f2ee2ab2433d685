// The engine's /metrics: TGI's names for drop-in dashboards, patella_engine_* for what TGI does not have. Names and
// help stand in lib/metrics/list.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/serve/engine_loop.h"

namespace patella::engine {

struct RequestTimes {
  double total_s = 0, queue_s = 0, first_token_s = 0, inference_s = 0;
  int input_tokens = 0, generated_tokens = 0;
};

// Thread-safe.
class EngineMetrics {
 public:
  explicit EngineMetrics(const std::string& version);
  ~EngineMetrics();

  void CountRequest();
  void CountAdmitted(double validation_s, std::span<const std::vector<int32_t>> prompts, int max_new_tokens);
  void CountStep(const StepReport& report);
  void CountFailure(std::string_view label);  // ErrorKind's metric label, or "dropped" for a client that left
  void CountSuccess(const RequestTimes& times);
  std::string Render(const EngineStats& stats, const LimitsInForce& limits, int in_flight);  // Prometheus text

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::engine
