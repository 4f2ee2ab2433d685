// Continuous batching changes nothing for the one: prompts that arrive at random times and share their forward passes, chunked,
// preempted and computed again, get the logits of their solo runs. The real scheduler over the real model.
#include <algorithm>
#include <cstdio>
#include <map>

#include "engine/model/llama.h"
#include "engine/schedule/scheduler.h"
#include "lib/base/random.h"
#include "tests/unit/engine/model/real_model.h"

namespace patella::engine {
namespace {

constexpr int kPrompts = 64, kNewTokens = 10;
constexpr int kBlockSize = 16, kBlocks = 24;  // so few that sequences are preempted

struct Sequence {
  std::vector<int32_t> prompt;
  int arrival = 0;                         // step
  std::vector<int32_t> generated;          // by the solo run, greedily; the mixed run is led along it
  std::vector<std::vector<float>> logits;  // of the solo run, one row a generated token
};

int32_t Top(std::span<const float> row) {
  return static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

// Steps until nothing is left. `token` names the next token of a sequence from its row of logits.
template <class NextToken>
void RunAll(Executor& executor, Scheduler& scheduler, std::vector<Sequence>& sequences, NextToken token,
            int* mixed_steps) {
  size_t submitted = 0;
  std::vector<float> logits;
  const auto vocabulary = static_cast<size_t>(executor.vocab_size());
  for (int now = 0; submitted < sequences.size() || !scheduler.idle(); ++now) {
    ASSERT_LT(now, 5000);
    for (; submitted < sequences.size() && sequences[submitted].arrival <= now; ++submitted)
      ASSERT_TRUE(scheduler.Submit(submitted, sequences[submitted].prompt, kNewTokens).ok());
    const Step step = scheduler.Plan();
    if (step.items.empty()) continue;
    ASSERT_TRUE(executor.Forward(step.items, &logits).ok());
    if (step.prompt_tokens > 0 && step.prompt_tokens < step.tokens) ++*mixed_steps;
    std::vector<Sampled> sampled;
    for (size_t i = 0; i < step.items.size(); ++i) {
      if (!step.items[i].wants_logits) continue;
      const auto row = std::span<const float>(logits).subspan(sampled.size() * vocabulary, vocabulary);
      sampled.push_back({token(step.ids[i], row), false});
    }
    scheduler.Commit(step, sampled);
  }
}

TEST(BatchingTest, SixtyFourPromptsArrivingAtRandomGetTheLogitsOfTheirSoloRuns) {
  PATELLA_OPEN_REAL_MODEL(file);
  const CpuOptions options{.kv_tokens = kBlocks * kBlockSize, .block_size = kBlockSize, .max_tokens_per_forward = 256};
  const auto executor = LoadCpu(**file, options);
  ASSERT_TRUE(executor.ok()) << executor.status();
  const SchedulerOptions pool{.block_size = kBlockSize,
                              .blocks = kBlocks,
                              .max_tokens_per_forward = 256,
                              .lease_tokens = kBlockSize,
                              .watermark = 0};
  const std::vector<int32_t> text = ManyTokens(**file, 2000);
  ASSERT_EQ(text.size(), 2000u);

  Random random(20261126);
  std::vector<Sequence> sequences(kPrompts);
  int ignored = 0;
  for (int i = 0; i < kPrompts; ++i) {
    Sequence& s = sequences[static_cast<size_t>(i)];
    const int64_t length = random.UniformInt(2, 60), first = random.UniformInt(0, 2000 - length);
    s.prompt.assign(text.begin() + first, text.begin() + first + length);
    std::vector<Sequence> alone(1);
    alone[0].prompt = s.prompt;
    Scheduler scheduler(pool, {.max_batch_prefill_tokens = 256});
    RunAll(
        **executor, scheduler, alone,
        [&](uint64_t, std::span<const float> row) {
          s.logits.emplace_back(row.begin(), row.end());
          s.generated.push_back(Top(row));
          return s.generated.back();
        },
        &ignored);
    s.arrival = static_cast<int>(random.UniformInt(0, 40));
  }
  std::sort(sequences.begin(), sequences.end(),
            [](const Sequence& a, const Sequence& b) { return a.arrival < b.arrival; });

  double mean = 0, worst = 0;
  int rows = 0, same = 0, mixed_steps = 0;
  std::map<uint64_t, size_t> at;
  Scheduler scheduler(pool, {.max_batch_prefill_tokens = 96});
  RunAll(
      **executor, scheduler, sequences,
      [&](uint64_t id, std::span<const float> row) {
        const Sequence& s = sequences[id];
        const size_t position = at[id]++;
        const Difference d = Compare(s.logits[position], row);
        mean += d.kl;
        worst = std::max(worst, d.kl);
        same += d.same_top ? 1 : 0;
        ++rows;
        return s.generated[position];
      },
      &mixed_steps);
  mean /= rows;
  std::printf("%d rows, %d mixed steps, %llu preemptions: KL mean %.2e, worst %.2e; same top token %d\n", rows,
              mixed_steps, static_cast<unsigned long long>(scheduler.stats().preemptions), mean, worst, same);
  EXPECT_EQ(rows, kPrompts * kNewTokens);
  EXPECT_GT(mixed_steps, 20);
  EXPECT_GT(scheduler.stats().preemptions, 0u) << "the case is not the one meant";
  EXPECT_LT(worst, 1e-5) << "the quantised pass is 3e-3 from a float one on average";
}

}  // namespace
}  // namespace patella::engine
