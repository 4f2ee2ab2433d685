#include "engine/serve/prompts.h"

#include <algorithm>
#include <string>

#include "lib/base/text.h"

namespace patella::engine {

absl::StatusOr<std::vector<std::vector<int32_t>>> EncodePrompts(const Tokenizer& tokenizer,
                                                                const wire::GenerateCall& call) {
  std::vector<std::vector<int32_t>> prompts;
  if (!call.chat.empty()) {
    std::vector<ChatMessage> messages;
    for (const auto& [role, content] : call.chat) messages.push_back({role, content});
    absl::StatusOr<std::string> text = tokenizer.ApplyChatTemplate(messages, /*add_generation_prompt=*/true);
    if (!text.ok()) return absl::OutOfRangeError(text.status().message());
    prompts.push_back(tokenizer.Encode(*text, /*add_special=*/true, /*parse_special=*/true));  // it has no BOS
  }
  for (const wire::Prompt& prompt : call.prompts) {
    if (const auto* text = std::get_if<std::string>(&prompt)) {
      prompts.push_back(tokenizer.Encode(*text, /*add_special=*/true, /*parse_special=*/true));
      continue;
    }
    prompts.push_back(std::get<std::vector<int32_t>>(prompt));
    for (int32_t id : prompts.back()) {
      if (id >= tokenizer.vocab_size()) {
        return absl::OutOfRangeError(
            StrCat("token id ", id, " is not below the vocabulary's size, ", tokenizer.vocab_size()));
      }
    }
  }
  for (auto& prompt : prompts) {
    if (call.truncate > 0 && static_cast<int>(prompt.size()) > call.truncate)
      prompt.erase(prompt.begin(), prompt.end() - call.truncate);
  }
  return prompts;
}

absl::Status CheckLengths(const ServiceOptions& options, const std::vector<std::vector<int32_t>>& prompts,
                          wire::GenerateCall* call) {
  const bool defaulted = call->max_new_tokens == 0;
  if (defaulted) call->max_new_tokens = options.default_max_new_tokens;
  for (const auto& prompt : prompts) {
    const int length = static_cast<int>(prompt.size());
    if (length == 0) return absl::OutOfRangeError("`inputs` cannot be empty");
    if (length > options.max_input_tokens) {
      return absl::OutOfRangeError(
          StrCat("`inputs` must have less than ", options.max_input_tokens + 1, " tokens. Given: ", length));
    }
    const int left = options.max_total_tokens - length;
    if (defaulted) call->max_new_tokens = std::min(call->max_new_tokens, std::max(1, left));
    if (call->max_new_tokens > left) {
      return absl::OutOfRangeError(StrCat("`inputs` tokens + `max_new_tokens` must be <= ", options.max_total_tokens,
                                          ". Given: ", length, " `inputs` tokens and ", call->max_new_tokens,
                                          " `max_new_tokens`"));
    }
  }
  return absl::OkStatus();
}

}  // namespace patella::engine
