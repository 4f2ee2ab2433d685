// OpenAI's bodies: /v1/completions, /v1/chat/completions, /v1/models. Errors: InvalidArgument is 400, OutOfRange is 422.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/wire/generation.h"

namespace patella::wire {

absl::StatusOr<GenerateCall> ParseCompletionCall(std::string_view body);
absl::StatusOr<GenerateCall> ParseChatCall(std::string_view body);  // also TGI's /chat_tokenize

// What every body of one answer shares.
struct OpenAiHead {
  std::string id;  // "cmpl-12"
  std::string model;
  int64_t created = 0;  // seconds since the epoch
  bool chat = false;
  bool logprobs = false;  // choices carry those of their tokens
};

std::string OpenAiAnswer(const OpenAiHead& head, const std::vector<Answer>& answers);
// A stream event with a piece of choice `index`'s text, which may be empty, and the tokens that begin in it; `first` adds the role
// (chat); `finish` other than kNone ends the choice.
std::string OpenAiChunk(const OpenAiHead& head, int index, std::string_view text, std::span<const TokenText> tokens,
                        bool first, FinishReason finish);
std::string OpenAiUsageChunk(const OpenAiHead& head, int prompt_tokens, int completion_tokens);
std::string OpenAiModels(std::string_view model, int64_t created, int max_total_tokens);

}  // namespace patella::wire
