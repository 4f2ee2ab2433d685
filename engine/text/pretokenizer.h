// Splits text into the words inside which byte-level BPE merges. Hand-written matchers for the regular expressions that
// models were trained with; each is quoted beside its matcher.
#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace patella::engine {

enum class PreTokenizer { kGpt2, kSmollm, kLlama3, kQwen2 };

// By the value of tokenizer.ggml.pre; Unimplemented names an unknown one.
absl::StatusOr<PreTokenizer> FindPreTokenizer(std::string_view name);

// Appends views that cover `text` in order. Bytes that are no valid UTF-8 count as symbols.
void SplitWords(PreTokenizer kind, std::string_view text, std::vector<std::string_view>& words);

}  // namespace patella::engine
