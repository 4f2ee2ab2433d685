// OpenAI's two shapes of `logprobs`. Internal to lib/wire's .cc files.
#pragma once

#include <span>

#include "lib/wire/generation.h"
#include "lib/wire/json_write.h"
#include "lib/wire/openai.h"

namespace patella::wire {

// null unless head.logprobs. A token that is a part of a code point is named "bytes:\\xe2\\x80".
OrderedJson Logprobs(const OpenAiHead& head, std::span<const TokenText> tokens);

}  // namespace patella::wire
