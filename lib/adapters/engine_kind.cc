#include "lib/adapters/engine_kind.h"

#include <array>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "lib/base/text.h"

namespace patella::adapters {
namespace {

// In the order of EngineKind.
constexpr std::array<Engine, 4> kEngines = {{
    {.kind = EngineKind::kPatella,
     .name = "Patella",
     .dialect = Dialect::kOpenAi,
     .generate_path = "/v1/completions",
     .health_path = "/health",
     .models_path = "/v1/models",
     .metrics_path = "/metrics",
     .fixed_output = true,
     .usage_every_event = false},
    {.kind = EngineKind::kVllm,
     .name = "VLLM",
     .dialect = Dialect::kOpenAi,
     .generate_path = "/v1/completions",
     .health_path = "/health",
     .models_path = "/v1/models",
     .metrics_path = "/metrics",
     .fixed_output = true,
     .usage_every_event = true},
    {.kind = EngineKind::kTgi,
     .name = "TGI",
     .dialect = Dialect::kTgi,
     .generate_path = "/generate_stream",
     .health_path = "/health",
     .models_path = "/info",
     .metrics_path = "/metrics",
     .fixed_output = false,
     .usage_every_event = false},
    {.kind = EngineKind::kOpenAi,
     .name = "OpenAI",
     .dialect = Dialect::kOpenAi,
     .generate_path = "/v1/completions",
     .health_path = "/v1/models",
     .models_path = "/v1/models",
     .metrics_path = "",
     .fixed_output = true,
     .usage_every_event = false},
}};

}  // namespace

const Engine& EngineOf(EngineKind kind) { return kEngines[static_cast<size_t>(kind)]; }

absl::StatusOr<EngineKind> ParseEngineKind(std::string_view name) {
  std::string known;
  for (const Engine& engine : kEngines) {
    if (absl::EqualsIgnoreCase(ToAbsl(engine.name), ToAbsl(name))) return engine.kind;
    known += StrCat(known.empty() ? "" : ", ", engine.name);
  }
  return absl::InvalidArgumentError(StrCat("unknown engine type \"", name, "\": expected one of ", known));
}

}  // namespace patella::adapters
