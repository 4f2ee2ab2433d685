#include "cli/demo/blocks.h"

#include <algorithm>
#include <cmath>

#include "lib/base/text.h"

namespace patella::cli {
namespace {

constexpr double kMaxNoise = 0.12;         // repetitions further apart than this tell nothing
constexpr double kLatencyTolerance = 1.1;  // held under overload: within 10 % of the target
constexpr double kMinGoodput = 0.95;       // of the best fixed limit
constexpr double kMinSeconds = 5, kMaxSeconds = 20;

struct Mean {
  double latency_ms = 0, tokens_per_second = 0, goodput = 0;
  int completed = 0, refused = 0, failed = 0;
};

Mean MeanOf(const std::vector<Measured>& blocks, Arm arm) {
  Mean mean;
  int n = 0;
  for (const Measured& block : blocks) {
    if (block.arm != arm) continue;
    ++n;
    mean.latency_ms += block.latency_ms;
    mean.tokens_per_second += block.tokens_per_second;
    mean.goodput += block.goodput();
    mean.completed += block.completed;
    mean.refused += block.refused;
    mean.failed += block.failed;
  }
  if (n == 0) return mean;
  mean.latency_ms /= n;
  mean.tokens_per_second /= n;
  mean.goodput /= n;
  return mean;
}

// Of the fixed concurrencies, which Patella is compared with, the one that repeats worst minutes later.
double NoiseOf(const std::vector<Measured>& blocks) {
  double noise = 0;
  for (const Arm arm : {Arm::kReference, Arm::kBelow, Arm::kAbove}) {
    double low = INFINITY, high = 0;
    for (const Measured& block : blocks) {
      if (block.arm != arm) continue;
      low = std::min(low, block.tokens_per_second);
      high = std::max(high, block.tokens_per_second);
    }
    if (high > 0) noise = std::max(noise, 2 * (high - low) / (high + low));
  }
  return noise;
}

ReportArm ArmOf(std::string name, const Mean& mean, bool ours) {
  return {std::move(name), mean.latency_ms, mean.goodput, mean.completed, mean.refused, mean.failed, ours};
}

}  // namespace

double SecondsOf(const Block& block, double a_ms, double b_ms, int output_tokens, int limit) {
  const int running = block.arm == Arm::kWith ? limit : block.concurrency;  // the sidecar lets no more in
  return block.seconds + (a_ms + b_ms * running) * output_tokens / 1e3;
}

std::vector<Block> PlanBlocks(int limit, double a_ms, double b_ms, int output_tokens, double budget_s) {
  const auto scaled = [limit](double factor) { return std::max(1, static_cast<int>(std::lround(factor * limit))); };
  std::vector<Block> round = {{Arm::kReference, limit},
                              {Arm::kBelow, scaled(0.7)},
                              {Arm::kWith, 3 * limit},
                              {Arm::kAbove, std::max(limit + 1, scaled(1.3))},
                              {Arm::kWithout, 3 * limit}};
  double fixed_s = 0, measured_s = 0;
  for (Block& block : round) {
    block.seconds = 0;
    const double request_s = SecondsOf(block, a_ms, b_ms, output_tokens, limit);
    const double wish_s = block.arm == Arm::kWith ? 3 * request_s : 2 * request_s;
    block.seconds = std::clamp(wish_s, 8.0, kMaxSeconds);
    fixed_s += request_s;
    measured_s += block.seconds;
  }
  const double scale = std::min(1.0, (budget_s / 2 - fixed_s) / measured_s);
  for (Block& block : round) block.seconds = std::max(kMinSeconds, block.seconds * scale);
  std::vector<Block> all = round;
  all.insert(all.end(), round.rbegin(), round.rend());
  return all;
}

Verdict Judge(const std::vector<Measured>& blocks, int limit, double target_ms, double quantile,
              const std::string& unit) {
  const Mean with = MeanOf(blocks, Arm::kWith), without = MeanOf(blocks, Arm::kWithout);
  double best = 0;
  for (const Arm arm : {Arm::kReference, Arm::kBelow, Arm::kAbove}) best = std::max(best, MeanOf(blocks, arm).goodput);
  Verdict verdict;
  verdict.noise = NoiseOf(blocks);
  verdict.goodput_share = best > 0 ? with.goodput / best : 0;
  verdict.arms = {ArmOf(StrCat("with Patella (limit ", limit, ")"), with, true),
                  ArmOf("without Patella", without, false),
                  ArmOf(StrCat("fixed at the limit, ", limit), MeanOf(blocks, Arm::kReference), false),
                  ArmOf("fixed at 0.7 x the limit", MeanOf(blocks, Arm::kBelow), false),
                  ArmOf("fixed at 1.3 x the limit", MeanOf(blocks, Arm::kAbove), false)};
  const std::string p = StrCat("p", Number(100 * quantile));
  const std::string relation = with.latency_ms <= target_ms                       ? " ≤ "
                               : with.latency_ms <= kLatencyTolerance * target_ms ? " within 10 % of "
                                                                                  : " > ";
  verdict.sentence = StrCat("limit ", limit, ": ", p, " ", std::lround(with.latency_ms), " ", unit, relation,
                            Number(target_ms), " at 3× load, goodput ", std::lround(100 * verdict.goodput_share),
                            " % of the best; without Patella ", std::lround(without.latency_ms), " ms");
  const bool held = with.completed > 0 && with.failed == 0 && with.latency_ms <= kLatencyTolerance * target_ms &&
                    verdict.goodput_share >= kMinGoodput;
  if (verdict.noise > kMaxNoise) {
    verdict.code = kTooNoisy;
    verdict.tone = Tone::kWarning;
    verdict.sentence =
        StrCat("this machine is too noisy to tell: the same load gave ", std::lround(100 * verdict.noise),
               " % different throughput a few minutes apart (12 % at most); stop what else runs here and try again. "
               "Measured: ",
               verdict.sentence);
  } else if (!held) {
    verdict.code = kTargetMissed;
    verdict.tone = Tone::kBad;
    verdict.sentence = StrCat("not held: ", verdict.sentence);
  }
  return verdict;
}

}  // namespace patella::cli
