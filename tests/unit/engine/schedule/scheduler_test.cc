// Properties of the scheduler under seeded random workloads, and the cases that its contract names.
#include "engine/schedule/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "lib/base/random.h"

namespace patella::engine {
namespace {

constexpr int kBlock = 4;

std::vector<Sampled> SampleAll(const Step& step, bool end = false) {
  std::vector<Sampled> sampled;
  for (const StepItem& item : step.items) {
    if (item.wants_logits) sampled.push_back({7, end});
  }
  return sampled;
}

SchedulerOptions Options(int blocks, bool full = false) {
  return {.block_size = kBlock,
          .blocks = blocks,
          .max_tokens_per_forward = 32,
          .lease_tokens = 8,
          .full_reservation = full};
}

Limits SomeLimits(int prefill_tokens = 16) { return {.max_batch_prefill_tokens = prefill_tokens}; }

struct Workload {
  Workload(uint64_t seed, bool full) : random(seed), scheduler(Options(40, full), SomeLimits()) {}

  void SubmitSome() {
    for (int64_t n = random.UniformInt(0, 2); n > 0 && next_id <= 60; --n) {
      const int prompt = static_cast<int>(random.UniformInt(1, 50));
      ASSERT_TRUE(
          scheduler.Submit(next_id, std::vector<int32_t>(prompt, 1), static_cast<int>(random.UniformInt(1, 60))).ok());
      waiting.insert(next_id++);
      live.insert(next_id - 1);
    }
  }
  void CancelSome() {
    if (live.empty() || random.Uniform() > 0.05) return;
    const uint64_t id = *std::next(live.begin(), random.UniformInt(0, static_cast<int64_t>(live.size()) - 1));
    ASSERT_TRUE(scheduler.Cancel(id));
    ASSERT_FALSE(scheduler.Cancel(id));
    End(id);
  }
  void End(uint64_t id) {
    ASSERT_EQ(live.erase(id), 1u) << "sequence " << id << " ended twice";
    waiting.erase(id);
    computed.erase(id);
  }
  void CheckStep(const Step& step) {
    std::set<int32_t> blocks;
    size_t leased = 0;
    ASSERT_LE(step.tokens, 16);
    for (size_t i = 0; i < step.items.size(); ++i) {
      const StepItem& item = step.items[i];
      ASSERT_TRUE(live.contains(step.ids[i]));
      ASSERT_GE(item.blocks.size() * kBlock, item.first_position + item.tokens.size());
      blocks.insert(item.blocks.begin(), item.blocks.end());
      leased += item.blocks.size();
      ASSERT_TRUE(item.first_position == computed[step.ids[i]] || item.first_position == 0);
      computed[step.ids[i]] = item.first_position + static_cast<int>(item.tokens.size());
      if (!waiting.contains(step.ids[i])) continue;
      ASSERT_EQ(step.ids[i], *waiting.begin()) << "started out of order";
      waiting.erase(step.ids[i]);
    }
    ASSERT_EQ(blocks.size(), leased) << "a block has two owners";
  }

  Random random;
  Scheduler scheduler;
  uint64_t next_id = 1;
  std::set<uint64_t> live, waiting;
  std::map<uint64_t, int> computed;
};

class SchedulerProperties : public testing::TestWithParam<int> {};

TEST_P(SchedulerProperties, HoldUnderRandomArrivalsEndsAndCancels) {
  Workload w(GetParam(), GetParam() % 2 == 0);
  for (int steps = 0; w.next_id <= 60 || !w.scheduler.idle(); ++steps) {
    ASSERT_LT(steps, 20000) << "no progress";
    w.SubmitSome();
    w.CancelSome();
    const Step step = w.scheduler.Plan();
    w.CheckStep(step);
    ASSERT_TRUE(!step.items.empty() || w.scheduler.idle());
    for (const Finished& finished : w.scheduler.Commit(step, SampleAll(step, w.random.Uniform() < 0.02)))
      w.End(finished.id);
    if (HasFatalFailure()) return;
  }
  EXPECT_TRUE(w.live.empty());
  EXPECT_EQ(w.scheduler.stats().leased_tokens, 0);
  if (GetParam() % 2 == 0) {
    EXPECT_EQ(w.scheduler.stats().preemptions, 0u) << "full reservation never preempts";
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerProperties, testing::Range(1, 41));

TEST(SchedulerTest, DecodesComeBeforePrefillsAndTheLastPromptIsChunked) {
  Scheduler scheduler(Options(100), SomeLimits(16));
  ASSERT_TRUE(scheduler.Submit(1, std::vector<int32_t>(4, 1), 10).ok());
  Step step = scheduler.Plan();
  scheduler.Commit(step, SampleAll(step));
  ASSERT_TRUE(scheduler.Submit(2, std::vector<int32_t>(40, 1), 10).ok());
  step = scheduler.Plan();
  EXPECT_EQ(step.ids, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(step.items[0].tokens.size(), 1u);
  EXPECT_EQ(step.items[1].tokens.size(), 15u);
  EXPECT_FALSE(step.items[1].wants_logits);
}

TEST(SchedulerTest, PreemptionIsCountedAndTheSequenceIsComputedAgain) {
  Scheduler scheduler(Options(8), SomeLimits(16));  // 32 tokens
  ASSERT_TRUE(scheduler.Submit(1, std::vector<int32_t>(6, 1), 20).ok());
  ASSERT_TRUE(scheduler.Submit(2, std::vector<int32_t>(6, 1), 20).ok());
  std::set<uint64_t> ended;
  for (int i = 0; i < 200 && !scheduler.idle(); ++i) {
    const Step step = scheduler.Plan();
    for (const Finished& f : scheduler.Commit(step, SampleAll(step))) ended.insert(f.id);
  }
  EXPECT_EQ(ended, (std::set<uint64_t>{1, 2}));
  EXPECT_GE(scheduler.stats().preemptions, 1u);
}

TEST(SchedulerTest, BatchTotalTokensIsACeiling) {
  Limits limits = SomeLimits();
  limits.max_batch_total_tokens = 40;
  Scheduler scheduler(Options(100), limits);
  for (uint64_t id = 1; id <= 8; ++id) ASSERT_TRUE(scheduler.Submit(id, std::vector<int32_t>(10, 1), 10).ok());
  for (int i = 0; i < 500 && !scheduler.idle(); ++i) {
    const Step step = scheduler.Plan();
    EXPECT_LE(scheduler.stats().leased_tokens, 40);
    scheduler.Commit(step, SampleAll(step));
  }
  EXPECT_TRUE(scheduler.idle());
}

TEST(SchedulerTest, ALoweredCeilingPreemptsNobodyWhoRuns) {
  Limits limits = SomeLimits();
  Scheduler scheduler(Options(100), limits);
  for (uint64_t id = 1; id <= 4; ++id) ASSERT_TRUE(scheduler.Submit(id, std::vector<int32_t>(10, 1), 20).ok());
  for (int i = 0; i < 5; ++i) {
    const Step step = scheduler.Plan();
    scheduler.Commit(step, SampleAll(step));
  }
  limits.max_batch_total_tokens = 40;  // one of them, where four run
  ASSERT_TRUE(scheduler.Reconfigure(limits, 2).ok());
  ASSERT_TRUE(scheduler.Submit(5, std::vector<int32_t>(10, 1), 20).ok());
  std::vector<uint64_t> ended;
  for (int i = 0; i < 500 && !scheduler.idle(); ++i) {
    const Step step = scheduler.Plan();
    for (const Finished& f : scheduler.Commit(step, SampleAll(step))) ended.push_back(f.id);
  }
  EXPECT_EQ(scheduler.stats().preemptions, 0u);
  ASSERT_EQ(ended.size(), 5u);
  EXPECT_EQ(ended.back(), 5u);  // the newcomer waited for the new ceiling
}

TEST(SchedulerTest, ImpossibleLimitsAreRefusedAndChangeNothing) {
  Scheduler scheduler(Options(10), SomeLimits());
  EXPECT_EQ(scheduler.Reconfigure({.max_batch_prefill_tokens = 33}, 2).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(scheduler.Reconfigure({.max_batch_prefill_tokens = 8, .max_batch_total_tokens = 41}, 2).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(scheduler.generation(), 1u);
  EXPECT_EQ(scheduler.limits(), SomeLimits());
}

TEST(SchedulerTest, WhatCanNeverFitIsRefusedAtOnce) {
  Scheduler scheduler(Options(4), SomeLimits());
  EXPECT_EQ(scheduler.Submit(1, std::vector<int32_t>(10, 1), 7).code(), absl::StatusCode::kOutOfRange);
}

TEST(SchedulerTest, PromptLogitsAreAskedForUntilThePromptIsComputedAndNotAgainAfterAPreemption) {
  Scheduler scheduler(Options(5), SomeLimits(4));  // 20 KV tokens
  ASSERT_TRUE(scheduler.Submit(1, std::vector<int32_t>(6, 1), 8, /*prompt_logits=*/true).ok());
  ASSERT_TRUE(scheduler.Submit(2, std::vector<int32_t>(2, 1), 14).ok());
  size_t rows = 0;
  for (int step_count = 0; !scheduler.idle(); ++step_count) {
    ASSERT_LT(step_count, 200);
    const Step step = scheduler.Plan();
    for (size_t i = 0; i < step.items.size(); ++i) {
      if (step.ids[i] == 1 && step.items[i].every_token) rows += step.items[i].tokens.size();
      EXPECT_FALSE(step.ids[i] == 2 && step.items[i].every_token);
    }
    scheduler.Commit(step, SampleAll(step));
  }
  EXPECT_EQ(rows, 6u);
  EXPECT_GT(scheduler.stats().preemptions, 0u) << "the case is not the one meant";
}

TEST(SchedulerTest, AStepTellsHowManyLeftTheQueueForIt) {
  Scheduler scheduler(Options(40), SomeLimits(8));
  for (uint64_t id = 1; id <= 3; ++id) ASSERT_TRUE(scheduler.Submit(id, std::vector<int32_t>(4, 1), 5).ok());
  std::vector<int> admitted;
  for (int i = 0; i < 3; ++i) {
    const Step step = scheduler.Plan();
    admitted.push_back(step.admitted);
    scheduler.Commit(step, SampleAll(step));
  }
  EXPECT_EQ(admitted, (std::vector<int>{2, 1, 0}));
}

}  // namespace
}  // namespace patella::engine
