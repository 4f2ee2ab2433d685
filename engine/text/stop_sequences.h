// Finds stop strings in streamed text. Text that may be the beginning of a stop string is held back until that is known.
// One per stream; thread-compatible.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace patella::engine {

class StopMatcher {
 public:
  // Empty stop strings are ignored. `include_stop`: the stop string is part of what is returned.
  explicit StopMatcher(std::vector<std::string> stops, bool include_stop = false);

  // What may be shown now. After a stop string was found: the text before it, then nothing more.
  std::string Push(std::string_view text);
  bool stopped() const { return stopped_; }
  // The held text, at the end of generation.
  std::string Flush();

 private:
  std::vector<std::string> stops_;
  bool include_stop_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace patella::engine
