// SIGINT, SIGTERM and SIGHUP as a flag, so that a command can clean up before it ends.
#pragma once

#include <signal.h>

namespace patella::cli {

inline volatile sig_atomic_t interrupts = 0;

inline void CatchInterrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupts = interrupts + 1; };
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

inline bool Interrupted() { return interrupts > 0; }

}  // namespace patella::cli
