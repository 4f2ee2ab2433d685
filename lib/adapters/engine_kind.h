// Engines as data: one row per kind of inference server that Patella can measure and put a limit on.
//
// To support another server, add a kind and its row in engine_kind.cc, its request in request.cc, and, if it streams in a form of its
// own, its events in stream_parser.cc. Thread-safe: constants.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"

namespace patella::adapters {

enum class EngineKind { kPatella, kVllm, kTgi, kOpenAi };

// Which events a generation stream is made of.
enum class Dialect {
  kTgi,     // /generate_stream: one `token` object per event
  kOpenAi,  // /v1/completions: `choices[0].text`, then `usage`, then [DONE]
};

struct Engine {
  EngineKind kind;
  std::string_view name;  // as in ENGINE_TYPE and the custom resource: "Patella", "VLLM", "TGI", "OpenAI"
  Dialect dialect;
  std::string_view generate_path;  // what probes and loads post to
  std::string_view health_path;    // 200 when it can serve
  std::string_view models_path;    // where its model's name is found: /v1/models or /info
  std::string_view metrics_path;   // Prometheus text, "" if it has none
  bool fixed_output;       // honours ignore_eos / min_tokens: a stream gives exactly the tokens that were asked for
  bool usage_every_event;  // can say after each event how many tokens there were so far
};

const Engine& EngineOf(EngineKind kind);

// Case-insensitive; InvalidArgument lists the names that exist.
absl::StatusOr<EngineKind> ParseEngineKind(std::string_view name);

}  // namespace patella::adapters
