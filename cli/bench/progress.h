// A progress line on stderr: a bar, what is going on, and the time that is left. Redrawn in place on a terminal; otherwise a line at each
// new phase only.
#pragma once

#include <string>

#include "lib/base/clock.h"

namespace patella::cli {

class Progress {
 public:
  Progress();
  ~Progress();  // ends the line

  void Show(double fraction, const std::string& what);  // fraction: 0 … 1 of everything
  void Clear();                                         // before something else is printed

 private:
  bool terminal_;
  bool drawn_ = false;
  std::string last_phase_;
  TimePoint begun_, last_drawn_{};
};

// "━━━━━━╸      " of `width` characters.
std::string ProgressBar(double fraction, int width);

}  // namespace patella::cli
