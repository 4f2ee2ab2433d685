// How large a generation request is, in either dialect, without parsing its body: what admission must know before the engine sees it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace patella::wire {

struct RequestSize {
  int sequences = 1;                     // generated at once: prompts × max(n, best_of); ≥ 1
  std::optional<int64_t> output_tokens;  // asked for at most, of each sequence; none: the body does not say
  bool stream = false;                   // the body asks for it; the route may know better
};

// A body that is no JSON object is one sequence: the engine will refuse it.
RequestSize SizeOf(std::string_view body);

}  // namespace patella::wire
