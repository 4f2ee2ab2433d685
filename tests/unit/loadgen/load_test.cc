#include "lib/loadgen/load.h"

#include <algorithm>

#include "fake_engine.h"
#include "gtest/gtest.h"
#include "lib/loadgen/summary.h"

namespace patella::loadgen {
namespace {

using adapters::EngineKind;

struct Ran {
  LoadResult result;
  int most_at_once, refused, requests;
};

Ran RunAgainst(FakeEngine::Options engine_options, LoadOptions options) {
  http::Loop loop;
  FakeEngine engine(loop, engine_options);
  LoadResult result;
  const auto load = Load::Start(loop, engine.target(), std::move(options), [&](LoadResult done) {
    result = std::move(done);
    loop.Stop();
  });
  loop.Run();
  return {std::move(result), engine.most_at_once, engine.refused, engine.requests};
}

TEST(PoissonTimesTest, TheSameSeedGivesTheSameArrivals) {
  EXPECT_EQ(PoissonTimes(10, 20, 3), PoissonTimes(10, 20, 3));
  EXPECT_NE(PoissonTimes(10, 20, 3), PoissonTimes(10, 20, 4));
}

TEST(PoissonTimesTest, GapsHaveMeanAndDeviationOfAnExponential) {
  const std::vector<double> times = PoissonTimes(50, 400, 1);
  double last = 0, sum = 0, squares = 0;
  for (double t : times) {
    ASSERT_GT(t, last);
    sum += t - last;
    squares += (t - last) * (t - last);
    last = t;
  }
  const double n = static_cast<double>(times.size());
  EXPECT_NEAR(n, 20000, 600);
  EXPECT_NEAR(squares / n / (sum / n) / (sum / n), 2, 0.1);  // E x² = 2 (E x)²
  EXPECT_LT(last, 400);
}

class ClosedLoopTest : public testing::TestWithParam<EngineKind> {};

TEST_P(ClosedLoopTest, KeepsExactlyThatManyInFlightAndRecordsEachRequest) {
  const Ran run =
      RunAgainst({.kind = GetParam()},
                 {.concurrency = 3, .shapes = {{.input_tokens = 40, .output_tokens = 8}}, .max_requests = 12});
  ASSERT_TRUE(run.result.status.ok()) << run.result.status;
  EXPECT_EQ(run.most_at_once, 3);
  const LoadSummary summary = Summarize(run.result, {});
  EXPECT_EQ(summary.completed, 12);
  EXPECT_EQ(summary.failed, 0);
  for (const RequestRecord& record : run.result.records) {
    EXPECT_TRUE(record.ok());
    EXPECT_TRUE(!record.measured || record.output_tokens == 8) << record.output_tokens;
    EXPECT_LE(record.intended_s, record.first_token_s);
    EXPECT_LE(record.first_token_s, record.last_token_s);
    EXPECT_EQ(record.prompt_tokens, 40);
  }
  EXPECT_GE(run.result.records.size(), 15u);
  EXPECT_GT(summary.tokens_per_second, 0);
}

INSTANTIATE_TEST_SUITE_P(Dialects, ClosedLoopTest,
                         testing::Values(EngineKind::kTgi, EngineKind::kOpenAi, EngineKind::kPatella));

// Else those whom a limit lets in would go on to begin and end together.
TEST(LoadTest, TheFirstAnswersAreOfAllLengthsAlsoWhereFewAreLetIn) {
  const Ran run = RunAgainst({.refuse_above = 10}, {.concurrency = 40,
                                                    .shapes = {{.input_tokens = 10, .output_tokens = 100}},
                                                    .max_requests = 1,
                                                    .pause_when_refused = std::chrono::seconds(10)});
  ASSERT_TRUE(run.result.status.ok()) << run.result.status;
  std::vector<int> lengths;
  for (const RequestRecord& record : run.result.records) {
    if (record.ok() && !record.measured) lengths.push_back(record.output_tokens);
  }
  std::sort(lengths.begin(), lengths.end());
  ASSERT_EQ(lengths.size(), 10u);
  for (size_t i = 0; i < lengths.size(); ++i) EXPECT_NEAR(lengths[i], 10 * static_cast<double>(i) + 5, 10) << i;
}

TEST(LoadTest, AWarmUpOfGivenLengthMeasuresNoFirstAnswers) {
  const Ran run = RunAgainst({}, {.concurrency = 6,
                                  .shapes = {{.input_tokens = 10, .output_tokens = 60}},
                                  .duration = std::chrono::milliseconds(200),
                                  .warm_up = std::chrono::milliseconds(30)});
  ASSERT_TRUE(run.result.status.ok()) << run.result.status;
  EXPECT_GE(run.result.window_begin_s, 0.03);
  EXPECT_GE(run.result.window_end_s - run.result.window_begin_s, 0.2);
  int measured = 0;
  for (const RequestRecord& record : run.result.records) {
    if (!record.measured) continue;
    ++measured;
    EXPECT_EQ(record.output_tokens, 60);
    EXPECT_GE(record.end_s, run.result.window_begin_s);
  }
  EXPECT_GT(measured, 0);
}

// Else a limit that turns most clients away at once would end the load before it has answered anybody.
TEST(LoadTest, RefusalsBesideAnsweredRequestsAreCountedApart) {
  const Ran run = RunAgainst({.refuse_above = 1}, {.concurrency = 8,
                                                   .shapes = {{.input_tokens = 10, .output_tokens = 40}},
                                                   .max_requests = 6,
                                                   .pause_when_refused = std::chrono::milliseconds(1)});
  ASSERT_TRUE(run.result.status.ok()) << run.result.status;
  const LoadSummary summary = Summarize(run.result, {});
  EXPECT_GE(summary.completed, 5);
  EXPECT_GT(summary.refused, 6);
  EXPECT_EQ(run.most_at_once, 1);
}

TEST(LoadTest, AServerThatRefusesAllEndsTheLoadToo) {
  const Ran run = RunAgainst({.refuse_above = 0}, {.concurrency = 3,
                                                   .shapes = {{.input_tokens = 10, .output_tokens = 4}},
                                                   .max_requests = 4,
                                                   .pause_when_refused = std::chrono::milliseconds(1)});
  ASSERT_TRUE(run.result.status.ok()) << run.result.status;
  EXPECT_EQ(Summarize(run.result, {}).completed, 0);
  EXPECT_GE(run.refused, 4);
}

TEST(LoadTest, OpenLoopSendsAtItsIntendedTimesWhateverTheServerDoes) {
  const Ran run =
      RunAgainst({.step = std::chrono::milliseconds(5)},
                 {.rate_per_second = 200,
                  .shapes = {{.input_tokens = 10, .output_tokens = 4}, {.input_tokens = 30, .output_tokens = 6}},
                  .duration = std::chrono::milliseconds(250),
                  .seed = 5});
  ASSERT_TRUE(run.result.status.ok()) << run.result.status;
  const std::vector<double> times = PoissonTimes(200, 0.25, 5);
  ASSERT_EQ(run.result.records.size(), times.size());
  std::vector<double> intended;
  for (const RequestRecord& record : run.result.records) {
    intended.push_back(record.intended_s);
    EXPECT_GE(record.sent_s, record.intended_s);
  }
  std::sort(intended.begin(), intended.end());
  EXPECT_EQ(intended, times);
}

TEST(LoadTest, ARequestThatTakesTooLongIsCancelledAndRecordedAsFailed) {
  const Ran run =
      RunAgainst({.step = std::chrono::seconds(1000)}, {.shapes = {{.input_tokens = 5, .output_tokens = 4}},
                                                        .max_requests = 1,
                                                        .timeout = std::chrono::milliseconds(20),
                                                        .pause_when_refused = std::chrono::milliseconds(1)});
  ASSERT_EQ(run.result.records.size(), 2u);
  EXPECT_EQ(run.result.records[1].code, absl::StatusCode::kDeadlineExceeded);
}

TEST(LoadTest, AnEngineThatDiesEndsTheLoadWithItsName) {
  const Ran run = RunAgainst({.dies_after_requests = 6}, {.concurrency = 2,
                                                          .shapes = {{.input_tokens = 5, .output_tokens = 3}},
                                                          .max_requests = 1000,
                                                          .pause_when_refused = std::chrono::milliseconds(1)});
  EXPECT_TRUE(absl::IsUnavailable(run.result.status)) << run.result.status;
  EXPECT_NE(std::string(run.result.status.message()).find("went away"), std::string::npos);
}

TEST(LoadTest, ARefusedModelEndsTheLoadWithTheEnginesWords) {
  const Ran run = RunAgainst({.status = 404}, {.concurrency = 2, .max_requests = 100});
  EXPECT_TRUE(absl::IsFailedPrecondition(run.result.status)) << run.result.status;
  EXPECT_NE(std::string(run.result.status.message()).find("no such model"), std::string::npos);
}

TEST(LoadTest, DroppingALoadCancelsItsRequests) {
  http::Loop loop;
  FakeEngine engine(loop, {.step = std::chrono::milliseconds(1)});
  auto load =
      Load::Start(loop, engine.target(),
                  {.concurrency = 2, .shapes = {{.input_tokens = 5, .output_tokens = 100000}}, .max_requests = 1},
                  [](LoadResult) { FAIL() << "on_done after it was dropped"; });
  const auto poll = loop.Every(std::chrono::milliseconds(1), [&] {
    if (engine.most_at_once == 2) load.reset();
    if (engine.abandoned == 2) loop.Stop();
  });
  loop.Run();
  EXPECT_EQ(engine.abandoned, 2);
}

}  // namespace
}  // namespace patella::loadgen
