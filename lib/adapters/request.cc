#include <string>

#include "lib/adapters/generation.h"
#include "lib/base/text.h"
#include "nlohmann/json.hpp"

namespace patella::adapters {
namespace {

using nlohmann::json;

json TgiBody(const Generation& generation) {
  return {{"inputs", generation.prompt},
          {"parameters", {{"max_new_tokens", generation.max_output_tokens}, {"do_sample", false}, {"details", true}}}};
}

json OpenAiBody(const EngineTarget& target, const Generation& generation) {
  const Engine& engine = EngineOf(target.kind);
  json body = {{"prompt", generation.prompt},
               {"max_tokens", generation.max_output_tokens},
               {"temperature", 0},
               {"ignore_eos", true},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}}};
  if (!target.model.empty()) body["model"] = target.model;
  if (engine.usage_every_event) body["stream_options"]["continuous_usage_stats"] = true;
  if (target.kind == EngineKind::kVllm) body["min_tokens"] = generation.max_output_tokens;
  return body;
}

}  // namespace

http::Request GenerationRequest(const EngineTarget& target, const Generation& generation) {
  const Engine& engine = EngineOf(target.kind);
  http::Request request;
  request.method = "POST";
  request.target = StrCat(target.path_prefix, engine.generate_path);
  request.headers.Set("Content-Type", "application/json");
  request.headers.Set("Accept", "text/event-stream");
  if (!target.authorization.empty()) request.headers.Set("Authorization", target.authorization);
  const json body = engine.dialect == Dialect::kTgi ? TgiBody(generation) : OpenAiBody(target, generation);
  request.body = body.dump(-1, ' ', false, json::error_handler_t::replace);
  return request;
}

std::string ErrorMessage(std::string_view body) {
  const json parsed = json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_object()) {
    for (const char* key : {"error", "message", "detail"}) {
      const auto found = parsed.find(key);
      if (found == parsed.end()) continue;
      if (found->is_string()) return found->get<std::string>();
      if (found->is_object() && found->contains("message") && (*found)["message"].is_string()) {
        return (*found)["message"].get<std::string>();
      }
      return found->dump(-1, ' ', false, json::error_handler_t::replace);
    }
  }
  return std::string(body.substr(0, 200));
}

}  // namespace patella::adapters
