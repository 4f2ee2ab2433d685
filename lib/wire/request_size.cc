#include "lib/wire/request_size.h"

#include <algorithm>

#include "lib/wire/json_scan.h"

namespace patella::wire {
namespace {

constexpr int64_t kMost = 1 << 20;  // what is larger is as large

struct Asked {
  int64_t prompts = 1, answers = 1;
  std::optional<int64_t> output_tokens;
  bool stream = false;
};

// One string, or one array of token ids, is one prompt; an array of strings or of arrays is one prompt each.
int64_t CountPrompts(std::string_view prompt) {
  int64_t elements = 0;
  bool token_ids = false;
  ForEachElement(prompt, [&](std::string_view element) {
    ++elements;
    token_ids = token_ids || element.front() == '-' || (element.front() >= '0' && element.front() <= '9');
  });
  return token_ids ? 1 : std::max<int64_t>(1, elements);
}

std::optional<int64_t> CountIn(std::string_view value) {
  const std::optional<double> number = NumberIn(value);
  if (!number || *number < 0) return std::nullopt;
  return static_cast<int64_t>(std::min<double>(*number, kMost));
}

// Engines differ in which member they heed where several say the same: the largest counts, so that none hides another.
void Read(std::string_view object, bool outermost, Asked* asked) {
  ForEachMember(object, [&](std::string_view key, std::string_view value) {
    if (key == "prompt") asked->prompts = std::max(asked->prompts, CountPrompts(value));
    if (key == "n" || key == "best_of") asked->answers = std::max(asked->answers, CountIn(value).value_or(1));
    if (key == "max_tokens" || key == "max_completion_tokens" || key == "max_new_tokens")
      asked->output_tokens = std::max(asked->output_tokens, CountIn(value));
    if (key == "stream" && outermost) asked->stream = value == "true";
    if (key == "parameters" && outermost) Read(value, false, asked);  // TGI's
  });
}

}  // namespace

RequestSize SizeOf(std::string_view body) {
  Asked asked;
  Read(body, true, &asked);
  return {.sequences = static_cast<int>(std::min(kMost, asked.prompts * asked.answers)),
          .output_tokens = asked.output_tokens,
          .stream = asked.stream};
}

}  // namespace patella::wire
