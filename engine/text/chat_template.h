// Chat templates, recognised by fingerprint and rendered by hand: a model's Jinja is never run.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer.h"

namespace patella::engine {

// The text of the messages as `source` (tokenizer.chat_template) would give it, without a BOS at the start: Encode with
// add_special adds that. `bos` and `eos` are token texts. Unimplemented for a template it does not know, InvalidArgument for
// messages that the template refuses.
absl::StatusOr<std::string> RenderChat(std::string_view source, const std::vector<ChatMessage>& messages,
                                       bool add_generation_prompt, std::string_view bos, std::string_view eos);

}  // namespace patella::engine
