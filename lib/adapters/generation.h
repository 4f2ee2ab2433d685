// A generation request for any engine, and what its stream of answers says, reduced to what a measurement needs.
//
// Thread-compatible: no shared state.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "lib/adapters/engine_kind.h"
#include "lib/http/client.h"
#include "lib/http/message.h"

namespace patella::adapters {

// Where an engine answers, and as what.
struct EngineTarget {
  EngineKind kind = EngineKind::kOpenAi;
  std::string host = "127.0.0.1";
  int port = 80;
  std::string model;          // sent to the OpenAI dialect; TGI's needs none
  std::string path_prefix;    // "" or "/base", without a slash at its end
  std::string authorization;  // value of that header, or ""
};

struct Generation {
  std::string prompt;
  int max_output_tokens = 1;  // ≥ 1, generated in full where the engine can (Engine::fixed_output)
};

// A streaming request, greedy, without echo.
http::Request GenerationRequest(const EngineTarget& target, const Generation& generation);

struct StreamUsage {
  int prompt_tokens = -1;  // -1: the engine did not say
  int cached_tokens = -1;  // of the prompt, taken from a prefix cache
  int output_tokens = -1;
};

// Turns the bytes of an answer's body into counts of tokens, whatever the borders of the chunks.
//
// on_tokens runs inside Feed, with the number (≥ 1) of tokens that an event brought. If usage at the end says that there were more than the
// events showed, on_tokens gets the rest then. An event that reports an error makes Feed return it: ResourceExhausted for
// overload, Internal for all else, with the engine's words.
class StreamParser {
 public:
  StreamParser(EngineKind kind, std::function<void(int tokens)> on_tokens);
  ~StreamParser();
  StreamParser(const StreamParser&) = delete;
  StreamParser& operator=(const StreamParser&) = delete;

  absl::Status Feed(std::string_view bytes);

  int output_tokens() const;         // so far
  bool finished() const;             // a finish_reason, the details of TGI or [DONE] has been seen
  const StreamUsage& usage() const;  // complete when finished

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The engine's own words in an error body: TGI's {"error": "..."}, OpenAI's {"error": {"message": "..."}}, vLLM's {"message": "..."}
// or {"detail": ...}; otherwise the first 200 bytes.
std::string ErrorMessage(std::string_view body);

}  // namespace patella::adapters
