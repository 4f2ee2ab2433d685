// /status.json: one object that people's pages, `patella up` and tests read. Its shape is a contract: fields are added, never changed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sidecar/tuner/view.h"

namespace patella::sidecar {

struct LiveView {
  std::string model;
  int inflight = 0;
  int queued = 0;
  int64_t admitted_total = 0;
  int64_t rejected_total = 0;
  double tokens_per_second = 0;  // of user traffic, last 10 s
  double p90_ms_per_token = 0;   // time per output token of streams that ended in the last 30 s; 0: none
  double p90_ttft_ms = 0;
  int engine_running = 0;  // as the engine itself says; 0 where it does not
  int engine_waiting = 0;
  int64_t kv_tokens_used = 0;
  int64_t kv_tokens_capacity = 0;
};

// `decisions` instead of the tuner's own: with times since the epoch.
std::string StatusJson(const TunerView& tuner, const std::vector<Decision>& decisions, const LiveView& live);

}  // namespace patella::sidecar
