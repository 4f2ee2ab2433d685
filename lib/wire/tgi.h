// TGI's bodies: /generate, /generate_stream, /, /invocations, /tokenize. Errors: InvalidArgument is 400, OutOfRange is 422.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/wire/generation.h"

namespace patella::wire {

// {"inputs": …, "parameters": {…}, "stream": bool}. Unknown fields are ignored, as TGI does.
absl::StatusOr<GenerateCall> ParseTgiCall(std::string_view body);

// {"generated_text": …, "details": {…}}; in an array for `/` and /invocations.
std::string TgiAnswer(const Answer& answer, bool details, bool as_array);

// One stream event (without "data:"): index counts from 1. `last` is null but for the last event.
std::string TgiEvent(int index, const TokenText& token, const Answer* last, bool details);

struct TokenSpan {
  int32_t id;
  std::string text;
  size_t start, stop;  // bytes of the input
};
std::string TgiTokens(const std::vector<TokenSpan>& tokens);

}  // namespace patella::wire
