#include "lib/loadgen/probe_runner.h"

#include "fake_engine.h"
#include "gtest/gtest.h"

namespace patella::loadgen {
namespace {

using adapters::EngineKind;
using science::CancelStream;
using science::ProbeAction;
using science::StartStream;

// Starts two streams; when the first has `enough` tokens, cancels the second; done when both have ended well.
class TwoStreams final : public science::Probe {
 public:
  explicit TwoStreams(int first_length = 6) : first_length_(first_length) {}
  std::vector<ProbeAction> Begin(double now_s) override {
    last_s = now_s;
    return {StartStream{1, 20, first_length_}, StartStream{2, 20, 100000}};
  }
  std::vector<ProbeAction> OnTokens(int stream, int tokens, double now_s) override {
    EXPECT_GE(now_s, last_s);
    last_s = now_s;
    (stream == 1 ? first_tokens : second_tokens) += tokens;
    if (stream == 1 && first_tokens == 5) return {CancelStream{2}};
    return {};
  }
  std::vector<ProbeAction> OnEnd(int, bool ok, double) override {
    ++ended;
    ended_well += ok;
    return {};
  }
  std::vector<ProbeAction> OnTick(double) override {
    ++ticks;
    return {};
  }
  bool done() const override { return ended_well == 2; }
  science::ProbeProgress progress() const override {
    return {.phase = "ramp", .concurrency = 2 - ended, .fraction = ended / 2.0};
  }

  int first_length_;
  int first_tokens = 0, second_tokens = 0, ended = 0, ended_well = 0, ticks = 0;
  double last_s = 0;
};

struct Ran {
  ProbeOutcome outcome;
  int progress_reports = 0, abandoned = 0;
};

Ran RunAgainst(FakeEngine::Options engine_options, science::Probe& probe, ProbeOptions options = {}) {
  http::Loop loop;
  FakeEngine engine(loop, engine_options);
  Ran run;
  options.on_progress = [&](const science::ProbeProgress&) { ++run.progress_reports; };
  const auto runner =
      ProbeRunner::Start(loop, engine.target(), probe, std::move(options), [&](const ProbeOutcome& outcome) {
        run.outcome = outcome;
        loop.Stop();
      });
  loop.Run();
  run.abandoned = engine.abandoned;
  return run;
}

TEST(ProbeRunnerTest, CarriesOutWhatTheProbeAsksForInBothDialects) {
  for (EngineKind kind : {EngineKind::kTgi, EngineKind::kOpenAi}) {
    TwoStreams probe;
    const Ran run = RunAgainst({.kind = kind, .step = std::chrono::milliseconds(2)}, probe);
    ASSERT_TRUE(run.outcome.status.ok()) << run.outcome.status;
    EXPECT_EQ(probe.first_tokens, 6);
    EXPECT_GE(probe.second_tokens, 1);
    EXPECT_EQ(probe.ended_well, 2) << "a stream that was cancelled as asked has not failed";
    EXPECT_EQ(run.outcome.output_tokens, 2 + probe.first_tokens + probe.second_tokens) << "2 for the first request";
    EXPECT_EQ(run.outcome.streams, 2);
    EXPECT_EQ(run.outcome.failed_streams, 0);
    EXPECT_GE(run.progress_reports, 1);
  }
}

TEST(ProbeRunnerTest, AnEngineThatDiesIsUnavailable) {
  TwoStreams probe(100000);
  const Ran run = RunAgainst({.dies_after_requests = 2}, probe);
  EXPECT_TRUE(absl::IsUnavailable(run.outcome.status)) << run.outcome.status;
  EXPECT_NE(std::string(run.outcome.status.message()).find("went away"), std::string::npos);
}

TEST(ProbeRunnerTest, ARefusalOfTheFirstRequestIsToldInTheEnginesWords) {
  TwoStreams probe;
  const Ran run = RunAgainst({.status = 422}, probe);
  EXPECT_TRUE(absl::IsFailedPrecondition(run.outcome.status)) << run.outcome.status;
  EXPECT_NE(std::string(run.outcome.status.message()).find("no such model"), std::string::npos);
  EXPECT_EQ(probe.ticks, 0) << "the probe never began";
}

TEST(ProbeRunnerTest, TheDeadlineEndsItAndItsStreams) {
  TwoStreams probe(100000);
  const Ran run = RunAgainst({}, probe, {.deadline = std::chrono::milliseconds(150)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(run.outcome.status)) << run.outcome.status;
  EXPECT_GT(probe.ticks, 0);
}

TEST(ProbeRunnerTest, AnEngineThatHangsIsNoticed) {
  TwoStreams probe;
  const Ran run =
      RunAgainst({.step = std::chrono::seconds(1000)}, probe, {.stall_timeout = std::chrono::milliseconds(60)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(run.outcome.status)) << run.outcome.status;
  EXPECT_NE(std::string(run.outcome.status.message()).find("hangs"), std::string::npos);
}

}  // namespace
}  // namespace patella::loadgen
