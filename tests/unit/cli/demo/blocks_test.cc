#include "cli/demo/blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace patella::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<Measured> Good() {
  std::vector<Measured> blocks;
  for (int round = 0; round < 5; ++round) {
    blocks.push_back({Arm::kReference, 11, 46, 240 + 1.0 * round, 1, 30, 0, 0});
    blocks.push_back({Arm::kBelow, 8, 36, 220, 1, 30, 0, 0});
    blocks.push_back({Arm::kWith, 33, 47, 236, 0.99, 30, 200, 0});
    blocks.push_back({Arm::kAbove, 14, 57, 252, 0.1, 30, 0, 0});
  }
  blocks.push_back({Arm::kWithout, 33, 148, 270, 0, 30, 0, 0});
  return blocks;
}

TEST(DemoBlocksTest, WhatIsComparedRunsInFiveRoundsAndEveryOtherOneIsReversed) {
  const std::vector<Block> blocks = PlanBlocks(11, 5, 3.6, 64, 200);
  std::vector<int> concurrencies;
  for (const Block& block : blocks) concurrencies.push_back(block.concurrency);
  EXPECT_THAT(concurrencies,
              ElementsAre(33, 11, 8, 33, 14, 14, 33, 8, 11, 11, 8, 33, 14, 14, 33, 8, 11, 11, 8, 33, 14));
  EXPECT_EQ(blocks[0].arm, Arm::kWithout);
  EXPECT_EQ(blocks[1].arm, Arm::kReference);
  EXPECT_EQ(blocks[3].arm, Arm::kWith);
}

TEST(DemoBlocksTest, TheWholeFitsTheBudget) {
  double total = 0;
  for (const Block& block : PlanBlocks(11, 5, 3.6, 64, 180)) total += block.warm_up_s + block.seconds;
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
  EXPECT_EQ(verdict.arms[0].refused, 1000);
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

TEST(DemoVerdictTest, AFixedLoadOfWhichNoThreeBlocksAgreeTellsNothing) {
  for (const Arm arm : {Arm::kReference, Arm::kBelow, Arm::kAbove}) {
    std::vector<Measured> blocks = Good();
    double tokens_per_second = 160;
    for (Measured& block : blocks) {
      if (block.arm == arm) block.tokens_per_second = tokens_per_second += 40;  // 200, 240, 280, 320, 360
    }
    const Verdict verdict = Judge(blocks, 11, 50, 0.9, "ms/token");
    EXPECT_EQ(verdict.code, kTooNoisy) << verdict.sentence;
    EXPECT_NEAR(verdict.noise, 1.0 / 7, 1e-9);
    EXPECT_THAT(verdict.sentence,
                HasSubstr("too noisy to tell: of five equal loads no three agreed within 12 % (14 %)"));
  }
}

TEST(DemoVerdictTest, GoodputThatFallsShortInSomeRoundsOnlyTellsNothing) {
  std::vector<Measured> blocks = Good();
  for (const size_t i : {2, 6, 10}) blocks[i].tokens_per_second = 220;
  const Verdict verdict = Judge(blocks, 11, 50, 0.9, "ms/token");
  EXPECT_EQ(verdict.code, kTooNoisy);
  EXPECT_THAT(verdict.sentence, HasSubstr("the rounds disagree, goodput was 90 to 96 % of the best; stop what"));
}

// Three loads that are equally good: in each round another one is lucky, and the limit is not to blame.
TEST(DemoVerdictTest, TheLuckOfOneFixedLoadIsNotHeldAgainstTheLimit) {
  std::vector<Measured> blocks = Good();
  for (Measured& block : blocks) block.attainment = block.arm == Arm::kWithout ? 0 : 1, block.tokens_per_second = 236;
  for (const size_t lucky : {0, 5, 11, 12, 17}) blocks[lucky].tokens_per_second = 255;
  const Verdict verdict = Judge(blocks, 11, 50, 0.9, "ms/token");
  EXPECT_EQ(verdict.code, kOk) << verdict.sentence;
  EXPECT_NEAR(verdict.goodput_share, 1, 0.01);
}

// What another program on the machine does: everything is 30 % slower for a while.
TEST(DemoVerdictTest, ASlowSpellInOneRoundChangesNothing) {
  for (size_t begin = 0; begin + 4 <= 20; ++begin) {
    std::vector<Measured> blocks = Good();
    for (size_t i = begin; i < begin + 4; ++i) blocks[i].tokens_per_second *= 0.7;
    EXPECT_EQ(Judge(blocks, 11, 50, 0.9, "ms/token").code, kOk) << begin;
  }
}

}  // namespace
}  // namespace patella::cli
