// What `patella` exits with. Scripts depend on these; add at the end, never renumber.
#pragma once

#include "absl/status/status.h"

namespace patella::cli {

enum ExitCode {
  kOk = 0,
  kInternalError = 1,     // our bug
  kUsage = 2,             // wrong flag, URL or file
  kUnreachable = 3,       // nobody answers at the URL, or the engine went away
  kTargetImpossible = 4,  // a target lies below what one request alone takes
  kTargetMissed = 5,      // a limit was found, but it did not hold
  kTooNoisy = 6,          // the machine repeats itself too badly to tell
  kRefused = 7,           // the engine answers, but refuses our requests
  kTimedOut = 8,
  kInterrupted = 130,  // Ctrl-C
};

// The same list in the help of `patella` and of each of its commands.
inline constexpr char kExitCodesHelp[] =
    "Exit codes: 0 good, 1 internal error, 2 wrong usage, 3 nobody answers, 4 target impossible, 5 target missed, 6 "
    "machine too "
    "noisy,\n7 server refuses, 8 took too long, 130 interrupted.";

ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace patella::cli
