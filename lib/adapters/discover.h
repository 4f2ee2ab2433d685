// Finding out what answers at a URL: its kind, its model and, where it says so, its KV capacity.
//
// The functions that ask block the calling thread (tools and start-up only); the parsers are pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/adapters/engine_kind.h"
#include "lib/adapters/generation.h"
#include "lib/base/clock.h"

namespace patella::adapters {

struct Discovery {
  EngineTarget target;
  std::string version;              // "" if the engine does not say
  int kv_capacity_tokens = 0;       // 0: unknown
  int max_concurrent_requests = 0;  // the engine's own limit; 0: unknown
  int max_total_tokens = 0;         // prompt + output of one request; 0: unknown
};

// Asks /info, then /v1/models, then /metrics. Unavailable: nobody answers there (says the address and what to start);
// InvalidArgument: not an http:// URL; FailedPrecondition: somebody answers, but not as an engine that we know.
absl::StatusOr<Discovery> Detect(std::string_view url, Duration timeout = std::chrono::seconds(5));

// The parts, for those who already have the bodies. Missing fields leave zeros.
absl::StatusOr<std::string> FirstModel(std::string_view v1_models_json);  // data[0].id
void ReadInfo(std::string_view info_json, Discovery& discovery);          // TGI's and Patella's /info
void ReadMetrics(std::string_view prometheus_text,
                 Discovery& discovery);  // vllm:cache_config_info, tgi_*, patella_engine_*

}  // namespace patella::adapters
