#include <string>
#include <utility>

#include "lib/adapters/generation.h"
#include "lib/base/text.h"
#include "lib/wire/stream_event.h"
#include "nlohmann/json.hpp"

namespace patella::adapters {
namespace {

using nlohmann::json;

int IntField(const json& object, const char* key, int otherwise = -1) {
  if (!object.is_object()) return otherwise;
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int>() : otherwise;
}

bool HasText(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() && !found->get_ref<const std::string&>().empty();
}

absl::Status ErrorOfEvent(const json& event, std::string_view text) {
  const json& error = event["error"];
  std::string type = event.value("error_type", json("")).dump();
  if (error.is_object()) type = error.value("type", json("")).dump() + error.value("code", json("")).dump();
  const std::string words = ErrorMessage(text);
  const bool overloaded = type.find("overloaded") != std::string::npos || type.find("429") != std::string::npos;
  return overloaded ? absl::ResourceExhaustedError(words) : absl::InternalError(words);
}

}  // namespace

struct StreamParser::State {
  State(EngineKind kind, std::function<void(int)> callback)
      : dialect(EngineOf(kind).dialect),
        on_tokens(std::move(callback)),
        events([this](std::string_view data) { OnEvent(data); }) {}

  Dialect dialect;
  std::function<void(int)> on_tokens;
  http::SseParser events;
  absl::Status status;
  StreamUsage usage;
  wire::PieceCounter pieces;  // a generation has one choice
  int output_tokens = 0;
  bool finished = false;

  void Count(int tokens) {
    if (tokens <= 0) return;
    output_tokens += tokens;
    on_tokens(tokens);
  }

  // `total` tokens so far, as the engine says; more than counted means that an event brought several.
  void CountUpTo(int total) { Count(total - output_tokens); }

  void OnEvent(std::string_view data) {
    if (!status.ok()) return;
    if (data == "[DONE]") {
      finished = true;
      return;
    }
    const json event = json::parse(data, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) {
      status = absl::InternalError(StrCat("the engine's stream is not JSON: ", data.substr(0, 80)));
    } else if (event.contains("error") && !event["error"].is_null()) {
      status = ErrorOfEvent(event, data);
    } else {
      int in_event = 0;
      for (const wire::StreamPiece& piece : wire::PiecesOf(data)) {
        in_event += pieces.TokensIn(piece);
        finished = finished || piece.last;
      }
      dialect == Dialect::kTgi ? OnTgi(event, in_event) : OnOpenAi(event, in_event);
    }
  }

  void OnTgi(const json& event, int in_event) {
    Count(in_event);
    const auto details = event.find("details");
    if (details != event.end() && details->is_object()) {
      usage.output_tokens = IntField(*details, "generated_tokens");
      usage.prompt_tokens = IntField(*details, "input_length");
      CountUpTo(usage.output_tokens);
      finished = true;
    } else if (HasText(event, "generated_text")) {
      finished = true;
    }
  }

  void OnOpenAi(const json& event, int in_event) {
    const auto found = event.find("usage");
    if (found != event.end() && found->is_object()) {
      OnUsage(*found);
      CountUpTo(usage.output_tokens);  // knows better than the number of events
    } else {
      Count(in_event);
    }
  }

  void OnUsage(const json& reported) {
    usage.prompt_tokens = IntField(reported, "prompt_tokens", usage.prompt_tokens);
    usage.output_tokens = IntField(reported, "completion_tokens", usage.output_tokens);
    const auto details = reported.find("prompt_tokens_details");
    if (details != reported.end()) usage.cached_tokens = IntField(*details, "cached_tokens", usage.cached_tokens);
  }
};

StreamParser::StreamParser(EngineKind kind, std::function<void(int)> on_tokens)
    : state_(std::make_unique<State>(kind, std::move(on_tokens))) {}
StreamParser::~StreamParser() = default;

absl::Status StreamParser::Feed(std::string_view bytes) {
  if (!state_->status.ok()) return state_->status;
  if (absl::Status fed = state_->events.Feed(bytes); !fed.ok()) state_->status = fed;
  return state_->status;
}

int StreamParser::output_tokens() const { return state_->output_tokens; }
bool StreamParser::finished() const { return state_->finished; }
const StreamUsage& StreamParser::usage() const { return state_->usage; }

}  // namespace patella::adapters
