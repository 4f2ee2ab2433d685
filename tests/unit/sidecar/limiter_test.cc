#include "sidecar/proxy/limiter.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>

namespace patella::sidecar {
namespace {

using std::chrono::milliseconds;

struct Request {
  Limiter::Id id = 0;
  std::optional<Verdict> verdict;
};

class LimiterTest : public testing::Test {
 protected:
  void Enter(Limiter& limiter, Request& request, RequestCost cost = {}, Duration at = {}) {
    request.id = limiter.Enter(cost, TimePoint(at), [&request](Limiter::Id, Verdict v) { request.verdict = v; });
  }
};

TEST_F(LimiterTest, AdmitsUpToTheLimitAndRefusesTheNext) {
  Limiter limiter({.requests = 2});
  Request a, b, c;
  Enter(limiter, a);
  Enter(limiter, b);
  Enter(limiter, c);
  EXPECT_EQ(a.verdict, Verdict::kAdmitted);
  EXPECT_EQ(b.verdict, Verdict::kAdmitted);
  EXPECT_EQ(c.verdict, Verdict::kFull);
  EXPECT_EQ(limiter.in_flight(), 2);
}

TEST_F(LimiterTest, APermitIsFreeAgainAfterLeaveAndLeavingTwiceFreesOnlyOne) {
  Limiter limiter({.requests = 1});
  Request a, b, c;
  Enter(limiter, a);
  limiter.Leave(a.id);
  limiter.Leave(a.id);
  Enter(limiter, b);
  Enter(limiter, c);
  EXPECT_EQ(b.verdict, Verdict::kAdmitted);
  EXPECT_EQ(c.verdict, Verdict::kFull);
}

TEST_F(LimiterTest, LoweringTheLimitCutsNobodyOffButHoldsUpNewcomers) {
  Limiter limiter({.requests = 3});
  Request a, b, c, d;
  for (Request* r : {&a, &b, &c}) Enter(limiter, *r);
  limiter.SetBudgets({.requests = 1});
  EXPECT_EQ(limiter.in_flight(), 3);
  limiter.Leave(a.id);
  limiter.Leave(b.id);
  Enter(limiter, d);
  EXPECT_EQ(d.verdict, Verdict::kFull);
}

TEST_F(LimiterTest, RaisingTheLimitAdmitsThoseWhoWaitInTheirOrder) {
  Limiter limiter({.requests = 0}, {.max_requests = 3, .max_wait = milliseconds(100)});
  Request a, b, c;
  for (Request* r : {&a, &b, &c}) Enter(limiter, *r);
  EXPECT_EQ(limiter.queued(), 3);
  limiter.SetBudgets({.requests = 2});
  EXPECT_EQ(a.verdict, Verdict::kAdmitted);
  EXPECT_EQ(b.verdict, Verdict::kAdmitted);
  EXPECT_FALSE(c.verdict.has_value());
}

TEST_F(LimiterTest, TheQueueIsBoundedAndItsDeadlineIsAbsolute) {
  Limiter limiter({.requests = 1}, {.max_requests = 1, .max_wait = milliseconds(100)});
  Request a, b, c;
  Enter(limiter, a);
  Enter(limiter, b, {}, milliseconds(10));
  Enter(limiter, c, {}, milliseconds(10));
  EXPECT_EQ(c.verdict, Verdict::kFull);
  limiter.Tick(TimePoint(milliseconds(109)));
  EXPECT_FALSE(b.verdict.has_value());
  limiter.SetBudgets({.requests = 1});  // reshuffling does not extend it
  limiter.Tick(TimePoint(milliseconds(110)));
  EXPECT_EQ(b.verdict, Verdict::kTimedOut);
  EXPECT_EQ(limiter.queued(), 0);
}

TEST_F(LimiterTest, AnotherQueueHoldsAtOnceAndSendsNobodyAway) {
  Limiter limiter({.requests = 1}, {.max_requests = 2, .max_wait = milliseconds(100)});
  Request a, b, c, d, e;
  for (Request* r : {&a, &b, &c}) Enter(limiter, *r);
  limiter.SetQueue({.max_requests = 1, .max_wait = milliseconds(50)});
  Enter(limiter, d, {}, milliseconds(10));
  EXPECT_EQ(d.verdict, Verdict::kFull);
  limiter.Tick(TimePoint(milliseconds(49)));
  EXPECT_EQ(limiter.queued(), 2);
  limiter.Tick(TimePoint(milliseconds(50)));
  EXPECT_EQ(b.verdict, Verdict::kTimedOut) << "they wait no longer than is allowed now";
  EXPECT_EQ(c.verdict, Verdict::kTimedOut);
  limiter.SetQueue({.max_requests = 1, .max_wait = milliseconds(200)});
  Enter(limiter, e, {}, milliseconds(60));
  limiter.Tick(TimePoint(milliseconds(259)));
  EXPECT_FALSE(e.verdict.has_value());
  limiter.Leave(a.id);
  EXPECT_EQ(e.verdict, Verdict::kAdmitted);
}

TEST_F(LimiterTest, WhoGivesUpWaitingIsNeverAdmitted) {
  Limiter limiter({.requests = 1}, {.max_requests = 2, .max_wait = milliseconds(100)});
  Request a, b, c;
  for (Request* r : {&a, &b, &c}) Enter(limiter, *r);
  limiter.Leave(b.id);
  limiter.Leave(a.id);
  EXPECT_FALSE(b.verdict.has_value());
  EXPECT_EQ(c.verdict, Verdict::kAdmitted);
}

TEST_F(LimiterTest, ANewcomerNeverPassesThoseWhoWait) {
  Limiter limiter({.requests = 3, .kv_tokens = 100}, {.max_requests = 2, .max_wait = milliseconds(100)});
  Request running, large, small;
  Enter(limiter, running, {.prompt_tokens = 60});
  Enter(limiter, large, {.prompt_tokens = 60});
  Enter(limiter, small, {.prompt_tokens = 10});
  EXPECT_FALSE(large.verdict.has_value());
  EXPECT_FALSE(small.verdict.has_value());
}

TEST_F(LimiterTest, ARequestTakesAPlaceForEachOfItsSequences) {
  Limiter limiter({.requests = 4});
  Request one, two, three;
  Enter(limiter, one, {.sequences = 1});
  Enter(limiter, three, {.sequences = 3});
  EXPECT_EQ(three.verdict, Verdict::kAdmitted);
  EXPECT_EQ(limiter.in_flight(), 4);
  Enter(limiter, two, {.sequences = 1});
  EXPECT_EQ(two.verdict, Verdict::kFull);
  limiter.Leave(one.id);
  Enter(limiter, two, {.sequences = 2});
  EXPECT_EQ(two.verdict, Verdict::kFull) << "one place is not enough for two";
  limiter.Leave(three.id);
  EXPECT_EQ(limiter.in_flight(), 0);
  Enter(limiter, two, {.sequences = 2});
  EXPECT_EQ(two.verdict, Verdict::kAdmitted);
}

TEST_F(LimiterTest, ARequestWiderThanTheLimitIsAdmittedWhenItIsAlone) {
  Limiter limiter({.requests = 2}, {.max_requests = 2, .max_wait = milliseconds(100)});
  Request running, wide, narrow, nobody;
  Enter(limiter, running);
  Enter(limiter, wide, {.sequences = 16});
  Enter(limiter, narrow);
  EXPECT_FALSE(wide.verdict.has_value());
  EXPECT_FALSE(narrow.verdict.has_value()) << "it must not pass, or the wide one would never be alone";
  limiter.Leave(running.id);
  EXPECT_EQ(wide.verdict, Verdict::kAdmitted);
  EXPECT_EQ(limiter.in_flight(), 16);
  EXPECT_FALSE(narrow.verdict.has_value());
  limiter.Leave(wide.id);
  EXPECT_EQ(narrow.verdict, Verdict::kAdmitted);
  limiter.Leave(narrow.id);
  limiter.SetBudgets({.requests = 0});
  Enter(limiter, nobody, {.sequences = 16});
  EXPECT_FALSE(nobody.verdict.has_value()) << "a limit of 0 admits nobody";
}

TEST_F(LimiterTest, EachSequenceGivesItsShareOfThePromptTokensBack) {
  Limiter limiter({.requests = 10, .prompt_tokens = 100});
  Request batch;
  Enter(limiter, batch, {.prompt_tokens = 100, .sequences = 3});
  EXPECT_EQ(limiter.PromptComputed(batch.id), 33);
  EXPECT_EQ(limiter.prompt_tokens(), 67);
  EXPECT_EQ(limiter.decoding(), 1);
  limiter.PromptComputed(batch.id);
  EXPECT_EQ(limiter.PromptComputed(batch.id), 34);
  EXPECT_EQ(limiter.prompt_tokens(), 0);
  EXPECT_EQ(limiter.PromptComputed(batch.id), 0);
  EXPECT_EQ(limiter.decoding(), 3);
  limiter.Leave(batch.id);
  EXPECT_EQ(limiter.prompt_tokens(), 0);
  EXPECT_EQ(limiter.decoding(), 0);
}

TEST_F(LimiterTest, PromptTokensStopCountingWithTheFirstToken) {
  Limiter limiter({.requests = 10, .prompt_tokens = 100});
  Request a, b, c;
  Enter(limiter, a, {.prompt_tokens = 80});
  Enter(limiter, b, {.prompt_tokens = 80});
  EXPECT_EQ(b.verdict, Verdict::kFull);
  limiter.PromptComputed(a.id);
  Enter(limiter, c, {.prompt_tokens = 80});
  EXPECT_EQ(c.verdict, Verdict::kAdmitted);
  EXPECT_EQ(limiter.prompt_tokens(), 80);
}

TEST_F(LimiterTest, PromptsOfClientsThatDoNotStreamStopCountingWhenTheyMustBeComputed) {
  Limiter limiter({.requests = 10, .prompt_tokens = 100, .step_ms = 20, .ms_per_prompt_token = 3.5});
  Request a, b, c, d;
  const RequestCost whole{.prompt_tokens = 40, .streamed = false};
  Enter(limiter, a, whole);                     // computed at 160 ms
  Enter(limiter, b, whole, milliseconds(100));  // after a: 100 + 300
  Enter(limiter, c, whole, milliseconds(159));
  EXPECT_EQ(c.verdict, Verdict::kFull);
  Enter(limiter, c, whole, milliseconds(160));
  EXPECT_EQ(c.verdict, Verdict::kAdmitted);
  EXPECT_EQ(limiter.in_flight(), 3) << "their places they hold to the end";
  EXPECT_EQ(limiter.decoding(), 1);
  Enter(limiter, d, whole, milliseconds(399));
  EXPECT_EQ(d.verdict, Verdict::kFull);
  limiter.Leave(a.id);
  EXPECT_EQ(limiter.prompt_tokens(), 80) << "it gave its tokens back only once";
  limiter.Tick(TimePoint(milliseconds(459)));
  EXPECT_EQ(limiter.prompt_tokens(), 40);
  limiter.Tick(TimePoint(milliseconds(460)));
  EXPECT_EQ(limiter.prompt_tokens(), 0);
  EXPECT_EQ(limiter.decoding(), 2);
}

TEST_F(LimiterTest, ATargetForFirstTokensThrottlesNobodyBelowWhatTheEngineComputes) {
  // Prompts of 50 tokens, answers of 10 s, an engine that computes 100 tokens in 400 ms; clients that wait their turn.
  for (const bool streamed : {true, false}) {
    Limiter limiter({.requests = 1000, .prompt_tokens = 100, .ms_per_prompt_token = 4},
                    {.max_requests = 1000, .max_wait = std::chrono::seconds(60)});
    std::deque<Limiter::Id> prefilling;
    int admitted = 0;
    for (int i = 0; i < 60; ++i) {
      limiter.Enter({.prompt_tokens = 50, .streamed = streamed}, TimePoint{}, [&](Limiter::Id id, Verdict verdict) {
        admitted += verdict == Verdict::kAdmitted;
        prefilling.push_back(id);
      });
    }
    for (int ms = 5; ms <= 8000; ms += 5) {
      limiter.Tick(TimePoint(milliseconds(ms)));
      if (ms % 200 != 0 || prefilling.empty()) continue;
      const Limiter::Id id = prefilling.front();
      prefilling.pop_front();
      if (streamed) limiter.PromptComputed(id);
    }
    EXPECT_GE(admitted, 40) << (streamed ? "streamed" : "whole");
    EXPECT_LE(admitted, 43);
  }
}

TEST_F(LimiterTest, KvTokensAreReservedForPromptAndOutputUntilTheEnd) {
  Limiter limiter({.requests = 10, .kv_tokens = 300});
  Request a, b;
  Enter(limiter, a, {.prompt_tokens = 100, .output_tokens = 100});
  limiter.PromptComputed(a.id);
  Enter(limiter, b, {.prompt_tokens = 100, .output_tokens = 100});
  EXPECT_EQ(b.verdict, Verdict::kFull);
  limiter.Leave(a.id);
  EXPECT_EQ(limiter.kv_tokens(), 0);
}

TEST_F(LimiterTest, ARequestLargerThanABudgetIsAdmittedWhenItIsAlone) {
  Limiter limiter({.requests = 10, .prompt_tokens = 100, .kv_tokens = 100});
  Request huge, other;
  Enter(limiter, huge, {.prompt_tokens = 10'000, .output_tokens = 10});
  EXPECT_EQ(huge.verdict, Verdict::kAdmitted);
  Enter(limiter, other, {.prompt_tokens = 1});
  EXPECT_EQ(other.verdict, Verdict::kFull);
}

}  // namespace
}  // namespace patella::sidecar
