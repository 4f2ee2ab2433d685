// The demo's load blocks and what follows from them. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/exit_code.h"
#include "cli/report/report.h"

namespace patella::cli {

enum class Arm {
  kReference,  // a fixed concurrency at the limit, straight to the engine
  kBelow,      // 0.7 × the limit
  kAbove,      // 1.3 × the limit
  kWith,       // 3 × the limit through the sidecar
  kWithout,    // 3 × the limit straight to the engine
};

struct Block {
  Arm arm = Arm::kReference;
  int concurrency = 1;
  double warm_up_s = 2, seconds = 10;  // measured part: behind the warm-up
};

struct Measured {
  Arm arm = Arm::kReference;
  int concurrency = 1;
  double latency_ms = 0;  // of the target's metric at its quantile
  double tokens_per_second = 0;
  double attainment = 1;  // share of completed requests that met every target
  int completed = 0, refused = 0, failed = 0;

  double goodput() const { return tokens_per_second * attainment; }
};

// Five rounds of the arms that are compared, every other one in reverse, so that slow drift of the machine falls on all alike; the load
// without Patella, which is only shown, comes once. A block warms up for half a request and is measured for two; that part is shortened
// when the whole would take longer than `budget_s`, but lasts at least 2 s. `a_ms`, `b_ms`: the law; `output_tokens`: of a request.
std::vector<Block> PlanBlocks(int limit, double a_ms, double b_ms, int output_tokens, double budget_s);

struct Verdict {
  ExitCode code = kOk;
  std::string sentence;
  Tone tone = Tone::kGood;
  double noise =
      0;  // of a fixed arm's blocks, more than half lie so near to their median throughput, as a share of it; the worst arm's
  double goodput_share =
      0;  // of the best fixed limit: the median over the rounds, each with what was best in the others
  std::vector<ReportArm> arms;
};

// `unit`: "ms/token" or "ms". `quantile`: 0.9 → "p90".
Verdict Judge(const std::vector<Measured>& blocks, int limit, double target_ms, double quantile,
              const std::string& unit);

}  // namespace patella::cli
