#include "cli/bench/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace patella::cli {

std::string ProgressBar(double fraction, int width) {
  const int halves = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * 2 * width);
  std::string bar;
  for (int i = 0; i < width; ++i) bar += 2 * i + 1 < halves ? "━" : 2 * i < halves ? "╸" : " ";
  return bar;
}

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0), begun_(SteadyClock().Now()) {}
Progress::~Progress() { Clear(); }

void Progress::Show(double fraction, const std::string& what) {
  const TimePoint now = SteadyClock().Now();
  if (!terminal_) {
    const std::string phase = what.substr(0, what.find(':'));
    if (phase != last_phase_) std::fprintf(stderr, "%s\n", phase.c_str());
    last_phase_ = phase;
    return;
  }
  if (drawn_ && now - last_drawn_ < std::chrono::milliseconds(80)) return;
  last_drawn_ = now;
  const double elapsed = Seconds(now - begun_);
  char left[32] = "";
  if (fraction > 0.03 && elapsed > 1)
    std::snprintf(left, sizeof left, "  %.0f s left", elapsed * (1 - fraction) / fraction);
  std::fprintf(stderr, "\r\x1b[K%s %3.0f %%  %s%s", ProgressBar(fraction, 24).c_str(), 100 * fraction, what.c_str(),
               left);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::Clear() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
  drawn_ = false;
}

}  // namespace patella::cli
