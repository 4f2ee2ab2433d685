// From a request's text to token ids within the model's and the server's bounds. Pure; OutOfRange (422) says what is wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/serve/options.h"
#include "engine/text/tokenizer.h"
#include "lib/wire/generation.h"

namespace patella::engine {

// One a prompt; a chat is rendered with the model's template and is one.
absl::StatusOr<std::vector<std::vector<int32_t>>> EncodePrompts(const Tokenizer& tokenizer,
                                                                const wire::GenerateCall& call);

// Each prompt against max_input_tokens and, with max_new_tokens, max_total_tokens. A max_new_tokens of 0 becomes the default, or
// what is left if that is less.
absl::Status CheckLengths(const ServiceOptions& options, const std::vector<std::vector<int32_t>>& prompts,
                          wire::GenerateCall* call);

}  // namespace patella::engine
