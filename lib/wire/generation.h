// What a client asks for and what it gets, whatever the dialect.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace patella::wire {

struct Sampling {
  float temperature = 0;  // 0: greedy
  int top_k = 0;          // 0: all
  float top_p = 1;        // 1: all
  float repetition_penalty = 1;
  std::optional<uint64_t> seed;
};

using Prompt = std::variant<std::string, std::vector<int32_t>>;
using ChatTurns = std::vector<std::pair<std::string, std::string>>;  // role, content

struct GenerateCall {
  std::vector<Prompt> prompts;  // one answer each
  ChatTurns chat;               // instead of prompts: /v1/chat/completions
  int max_new_tokens = 0;       // 0: the route's default
  int truncate = 0;             // keep the prompt's last tokens; 0: all
  Sampling sampling;
  std::vector<std::string> stop;
  bool ignore_eos = false;
  bool stream = false;
  bool include_usage = false;     // OpenAI: usage in a last event
  bool logprobs = false;          // OpenAI: of the answer's tokens
  int top_tokens = 0;             // with each token of the answer, the likeliest ones at its place
  bool prompt_logprobs = false;   // TGI: of the prompt's tokens
  bool details = false;           // TGI
  bool return_full_text = false;  // TGI
};

struct TokenText {
  int32_t id = 0;
  std::string text;
  float logprob = 0;  // natural; NaN: none, as before a prompt's first token
  bool special = false;
  std::string bytes;           // of this token alone; may be a part of a code point
  size_t start = 0;            // code points of the answer before it
  std::vector<TokenText> top;  // the likeliest at its place, best first
};

enum class FinishReason { kNone, kLength, kEndToken, kStopSequence };

// One finished answer.
struct Answer {
  std::string text;
  FinishReason finish = FinishReason::kNone;
  std::vector<TokenText> tokens;
  std::vector<TokenText> prompt;  // with logprobs, if asked for
  int prompt_tokens = 0;
  int generated_tokens = 0;
  std::optional<uint64_t> seed;
};

}  // namespace patella::wire
