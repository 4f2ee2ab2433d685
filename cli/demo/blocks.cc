#include "cli/demo/blocks.h"

#include <algorithm>
#include <cmath>

#include "lib/base/text.h"
#include "lib/science/statistics.h"

namespace patella::cli {
namespace {

using science::Median;

constexpr double kMaxNoise = 0.12;         // repetitions further apart than this tell nothing
constexpr double kLatencyTolerance = 1.1;  // held under overload: within 10 % of the target
constexpr double kMinGoodput = 0.95;       // of the best fixed limit
constexpr double kLeastSeconds = 2, kMostSeconds = 20;
constexpr double kWarmUp = 0.5, kMeasured = 2;  // requests

constexpr int kRounds = 5;
constexpr Arm kFixed[] = {Arm::kReference, Arm::kBelow, Arm::kAbove};

// An arm over its blocks.
struct ArmFigures {
  double latency_ms = 0;                      // mean of the blocks
  std::vector<double> goodputs, throughputs;  // by round
  int completed = 0, refused = 0, failed = 0;
};

ArmFigures FiguresOf(const std::vector<Measured>& blocks, Arm arm) {
  ArmFigures figures;
  for (const Measured& block : blocks) {
    if (block.arm != arm) continue;
    figures.goodputs.push_back(block.goodput());
    figures.throughputs.push_back(block.tokens_per_second);
    figures.latency_ms += block.latency_ms;
    figures.completed += block.completed;
    figures.refused += block.refused;
    figures.failed += block.failed;
  }
  if (!figures.goodputs.empty()) figures.latency_ms /= static_cast<double>(figures.goodputs.size());
  return figures;
}

// Of the fixed concurrencies, which Patella is compared with, the one that repeats worst. Medians are compared, so fewer than half of the
// blocks may be off.
double NoiseOf(const std::vector<Measured>& blocks) {
  double noise = 0;
  for (const Arm arm : kFixed) {
    const std::vector<double> found = FiguresOf(blocks, arm).throughputs;
    const double median = Median(found);
    if (found.size() < 2 || median <= 0) continue;
    std::vector<double> apart;
    for (const double value : found) apart.push_back(std::abs(value / median - 1));
    std::sort(apart.begin(), apart.end());
    noise = std::max(noise, apart[apart.size() / 2]);
  }
  return noise;
}

// Of the best fixed limit, round by round. Which one is best is asked of the other rounds, else the luckiest of three equal arms would
// be what the limit is measured by.
std::vector<double> GoodputShares(const std::vector<Measured>& blocks) {
  std::vector<std::vector<double>> fixed;
  for (const Arm arm : kFixed) fixed.push_back(FiguresOf(blocks, arm).goodputs);
  const std::vector<double> with = FiguresOf(blocks, Arm::kWith).goodputs;
  std::vector<double> shares;
  for (size_t round = 0; round < with.size(); ++round) {
    double most = -1, here = 0;
    for (const std::vector<double>& goodputs : fixed) {
      if (round >= goodputs.size()) continue;
      double elsewhere = 0;
      for (size_t other = 0; other < goodputs.size(); ++other) elsewhere += other == round ? 0 : goodputs[other];
      if (elsewhere > most) most = elsewhere, here = goodputs[round];
    }
    if (here > 0) shares.push_back(with[round] / here);
  }
  return shares;
}

ReportArm ArmOf(std::string name, const ArmFigures& arm, bool ours) {
  return {std::move(name), arm.latency_ms, Median(arm.goodputs), arm.completed, arm.refused, arm.failed, ours};
}

}  // namespace

std::vector<Block> PlanBlocks(int limit, double a_ms, double b_ms, int output_tokens, double budget_s) {
  const auto scaled = [limit](double factor) { return std::max(1, static_cast<int>(std::lround(factor * limit))); };
  const std::vector<Block> round = {{Arm::kReference, limit},
                                    {Arm::kBelow, scaled(0.7)},
                                    {Arm::kWith, 3 * limit},
                                    {Arm::kAbove, std::max(limit + 1, scaled(1.3))}};
  std::vector<Block> all = {{Arm::kWithout, 3 * limit}};
  for (int i = 0; i < kRounds; ++i) {
    if (i % 2 == 0)
      all.insert(all.end(), round.begin(), round.end());
    else
      all.insert(all.end(), round.rbegin(), round.rend());
  }
  double warm_up_s = 0, measured_s = 0;
  for (Block& block : all) {
    const int running = block.arm == Arm::kWith ? limit : block.concurrency;  // the sidecar lets no more in
    const double request_s = (a_ms + b_ms * running) * output_tokens / 1e3;
    block.warm_up_s = kWarmUp * request_s;
    block.seconds = std::clamp(kMeasured * request_s, kLeastSeconds, kMostSeconds);
    warm_up_s += block.warm_up_s;
    measured_s += block.seconds;
  }
  const double scale = std::min(1.0, (budget_s - warm_up_s) / measured_s);
  for (Block& block : all) block.seconds = std::max(kLeastSeconds, block.seconds * scale);
  return all;
}

Verdict Judge(const std::vector<Measured>& blocks, int limit, double target_ms, double quantile,
              const std::string& unit) {
  const ArmFigures with = FiguresOf(blocks, Arm::kWith), without = FiguresOf(blocks, Arm::kWithout);
  Verdict verdict;
  verdict.noise = NoiseOf(blocks);
  const std::vector<double> shares = GoodputShares(blocks);
  verdict.goodput_share = Median(shares);
  verdict.arms = {ArmOf(StrCat("with Patella (limit ", limit, ")"), with, true),
                  ArmOf("without Patella", without, false),
                  ArmOf(StrCat("fixed at the limit, ", limit), FiguresOf(blocks, Arm::kReference), false),
                  ArmOf("fixed at 0.7 x the limit", FiguresOf(blocks, Arm::kBelow), false),
                  ArmOf("fixed at 1.3 x the limit", FiguresOf(blocks, Arm::kAbove), false)};
  const std::string p = StrCat("p", Number(100 * quantile));
  const std::string relation = with.latency_ms <= target_ms                       ? " ≤ "
                               : with.latency_ms <= kLatencyTolerance * target_ms ? " within 10 % of "
                                                                                  : " > ";
  verdict.sentence = StrCat("limit ", limit, ": ", p, " ", std::lround(with.latency_ms), " ", unit, relation,
                            Number(target_ms), " at 3× load, goodput ", std::lround(100 * verdict.goodput_share),
                            " % of the best; without Patella ", std::lround(without.latency_ms), " ms");
  const bool latency_held = with.completed > 0 && with.failed == 0 && with.latency_ms <= kLatencyTolerance * target_ms;
  const bool goodput_held = !shares.empty() && verdict.goodput_share >= kMinGoodput;
  const bool rounds_disagree = !shares.empty() && std::ranges::max(shares) >= kMinGoodput;
  std::string noise;
  if (verdict.noise > kMaxNoise) {
    noise = StrCat("of five equal loads no three agreed within 12 % (", std::lround(100 * verdict.noise), " %)");
  } else if (latency_held && !goodput_held && rounds_disagree) {
    noise = StrCat("the rounds disagree, goodput was ", std::lround(100 * std::ranges::min(shares)), " to ",
                   std::lround(100 * std::ranges::max(shares)), " % of the best");
  }
  if (!noise.empty()) {
    verdict.code = kTooNoisy;
    verdict.tone = Tone::kWarning;
    verdict.sentence = StrCat("this machine is too noisy to tell: ", noise,
                              "; stop what else runs here and try again. Measured: ", verdict.sentence);
  } else if (!latency_held || !goodput_held) {
    verdict.code = kTargetMissed;
    verdict.tone = Tone::kBad;
    verdict.sentence = StrCat("not held: ", verdict.sentence);
  }
  return verdict;
}

}  // namespace patella::cli
