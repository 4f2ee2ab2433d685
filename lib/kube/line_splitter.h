// Cuts a stream of bytes into lines, however the bytes are divided on their way. Pure; thread-compatible.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace patella::kube {

class LineSplitter {
 public:
  explicit LineSplitter(size_t max_line) : max_line_(max_line) {}

  // Calls `take(std::string_view line)` for each complete line, without "\n" or "\r\n"; empty lines are left out. False
  // once a line is longer than max_line: nothing more will come.
  template <typename F>
  bool Feed(std::string_view bytes, const F& take) {
    while (!bytes.empty() && !too_long_) {
      const size_t end = bytes.find('\n');
      const std::string_view part = bytes.substr(0, end);
      if (rest_.size() + part.size() > max_line_) {
        too_long_ = true;
        rest_ = {};
        break;
      }
      if (end == std::string_view::npos) {
        rest_.append(part);
        break;
      }
      bytes.remove_prefix(end + 1);
      if (rest_.empty()) {
        Give(part, take);
      } else {
        rest_.append(part);
        Give(rest_, take);
        rest_.clear();
        if (rest_.capacity() > kKeep) rest_ = {};
      }
    }
    return !too_long_;
  }

  // Bytes of a line that has not ended.
  size_t pending() const { return rest_.size(); }

 private:
  static constexpr size_t kKeep = size_t{256} << 10;

  template <typename F>
  static void Give(std::string_view line, const F& take) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) take(line);
  }

  size_t max_line_;
  std::string rest_;
  bool too_long_ = false;
};

}  // namespace patella::kube
