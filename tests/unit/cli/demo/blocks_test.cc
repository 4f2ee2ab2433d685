#include "cli/demo/blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace patella::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<Measured> Good() {
  std::vector<Measured> blocks;
  for (int round = 0; round < 2; ++round) {
    blocks.push_back({Arm::kReference, 11, 46, 240 + 4.0 * round, 1, 30, 0, 0});
    blocks.push_back({Arm::kBelow, 8, 36, 220, 1, 30, 0, 0});
    blocks.push_back({Arm::kWith, 33, 47, 236, 0.99, 30, 200, 0});
    blocks.push_back({Arm::kAbove, 14, 57, 252, 0.1, 30, 0, 0});
    blocks.push_back({Arm::kWithout, 33, 148, 270, 0, 30, 0, 0});
  }
  return blocks;
}

TEST(DemoBlocksTest, ReferencesStandAtBothEndsAndEveryArmRunsTwice) {
  const std::vector<Block> blocks = PlanBlocks(11, 5, 3.6, 64, 200);
  ASSERT_EQ(blocks.size(), 10u);
  EXPECT_EQ(blocks.front().arm, Arm::kReference);
  EXPECT_EQ(blocks.back().arm, Arm::kReference);
  EXPECT_EQ(blocks[1].concurrency, 8);
  EXPECT_EQ(blocks[2].concurrency, 33);
  EXPECT_EQ(blocks[3].concurrency, 14);
}

TEST(DemoBlocksTest, TheWholeFitsTheBudget) {
  double total = 0;
  for (const Block& block : PlanBlocks(11, 5, 3.6, 64, 180)) total += SecondsOf(block, 5, 3.6, 64, 11);
  EXPECT_LE(total, 181);
}

TEST(DemoBlocksTest, ALimitOfOneStillHasALargerNeighbour) {
  for (const Block& block : PlanBlocks(1, 5, 3, 64, 180)) {
    EXPECT_GE(block.concurrency, 1);
    if (block.arm == Arm::kAbove) {
      EXPECT_EQ(block.concurrency, 2);
    }
  }
}

TEST(DemoVerdictTest, AHeldLimitIsOneSentenceAndExitCodeZero) {
  const Verdict verdict = Judge(Good(), 11, 50, 0.9, "ms/token");
  EXPECT_EQ(verdict.code, kOk);
  EXPECT_EQ(verdict.sentence,
            "limit 11: p90 47 ms/token ≤ 50 at 3× load, goodput 97 % of the best; without Patella 148 ms");
  EXPECT_EQ(verdict.arms[0].refused, 400);
}

TEST(DemoVerdictTest, AMissedTargetIsNotHeld) {
  std::vector<Measured> blocks = Good();
  for (Measured& block : blocks) {
    if (block.arm == Arm::kWith) block.latency_ms = 60;
  }
  const Verdict verdict = Judge(blocks, 11, 50, 0.9, "ms/token");
  EXPECT_EQ(verdict.code, kTargetMissed);
  EXPECT_THAT(verdict.sentence, StartsWith("not held: limit 11: p90 60 ms/token > 50"));
}

TEST(DemoVerdictTest, GoodputThrownAwayIsNotHeld) {
  std::vector<Measured> blocks = Good();
  for (Measured& block : blocks) {
    if (block.arm == Arm::kWith) block.tokens_per_second = 180;
  }
  EXPECT_EQ(Judge(blocks, 11, 50, 0.9, "ms/token").code, kTargetMissed);
}

TEST(DemoVerdictTest, AFailedRequestIsNotHeld) {
  std::vector<Measured> blocks = Good();
  for (Measured& block : blocks) {
    if (block.arm == Arm::kWith) block.failed = 1;
  }
  EXPECT_EQ(Judge(blocks, 11, 50, 0.9, "ms/token").code, kTargetMissed);
}

TEST(DemoVerdictTest, AReferenceThatRepeatsBadlyTellsNothing) {
  std::vector<Measured> blocks = Good();
  blocks[5].tokens_per_second = 200;
  const Verdict verdict = Judge(blocks, 11, 50, 0.9, "ms/token");
  EXPECT_EQ(verdict.code, kTooNoisy);
  EXPECT_THAT(verdict.sentence, HasSubstr("too noisy to tell: the same load gave 18 % different throughput"));
}

TEST(DemoVerdictTest, AnyFixedLoadThatRepeatsBadlyTellsNothing) {
  std::vector<Measured> blocks = Good();
  blocks[1].tokens_per_second = 180;
  const Verdict verdict = Judge(blocks, 11, 50, 0.9, "ms/token");
  EXPECT_EQ(verdict.code, kTooNoisy) << verdict.sentence;
  EXPECT_NEAR(verdict.noise, 0.2, 1e-9);
}

}  // namespace
}  // namespace patella::cli
