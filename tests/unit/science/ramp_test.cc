#include "lib/science/ramp.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "simulator.h"

namespace patella::science {
namespace {

using ::testing::HasSubstr;

constexpr RampConfig kConfig{.input_tokens = 256, .output_tokens = 128, .max_concurrency = 32};

struct Outcome {
  absl::StatusOr<RampResult> result = absl::UnknownError("not run");
  RampResult last;
  double seconds = 0;
};

Outcome RunRamp(const ServerConfig& server_config, const RampConfig& config = kConfig) {
  Server server(server_config);
  Ramp ramp(config);
  Outcome run;
  run.seconds = Drive(server, ramp, 600);
  EXPECT_TRUE(ramp.done());
  run.result = ramp.Result();
  run.last = ramp.last_result();
  return run;
}

// Passes everything through and keeps what the ramp asked for.
class Recording final : public Probe {
 public:
  explicit Recording(Probe& probe) : probe_(probe) {}
  std::vector<ProbeAction> Begin(double now_s) override { return Keep(probe_.Begin(now_s)); }
  std::vector<ProbeAction> OnTokens(int stream, int tokens, double now_s) override {
    return Keep(probe_.OnTokens(stream, tokens, now_s));
  }
  std::vector<ProbeAction> OnEnd(int stream, bool ok, double now_s) override {
    open.erase(stream);
    return Keep(probe_.OnEnd(stream, ok, now_s));
  }
  std::vector<ProbeAction> OnTick(double now_s) override {
    const double fraction = probe_.progress().fraction;
    EXPECT_GE(fraction, fraction_);
    fraction_ = fraction;
    return Keep(probe_.OnTick(now_s));
  }
  bool done() const override { return probe_.done(); }
  ProbeProgress progress() const override { return probe_.progress(); }

  std::vector<StartStream> starts;
  std::set<int> open;
  size_t most_open = 0;

 private:
  std::vector<ProbeAction> Keep(std::vector<ProbeAction> actions) {
    for (const ProbeAction& action : actions) {
      const auto* start = std::get_if<StartStream>(&action);
      if (start == nullptr) continue;
      starts.push_back(*start);
      EXPECT_TRUE(open.insert(start->stream).second) << "stream ids are unique";
    }
    most_open = std::max(most_open, open.size());
    return actions;
  }

  Probe& probe_;
  double fraction_ = 0;
};

TEST(RampTest, MeasuresStepsAndPrefillOfAStallingServer) {
  const Outcome run = RunRamp({.a_ms = 16, .b_ms = 0.4, .prefill_ms = 5, .prefill_ms_per_token = 0.2, .noise = 0.02});
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  EXPECT_NEAR(run.result->StepMs(1), 16.4, 0.6);
  EXPECT_NEAR(run.result->StepMs(24), 16 + 24 * 0.4, 1.2);
  EXPECT_NEAR(run.result->PrefillMs(16), 5 + 256 * 0.2, 5);
  EXPECT_NEAR(run.result->prefill_ms_per_token, 0.2, 0.05);
  EXPECT_TRUE(run.result->high_confidence);
  EXPECT_EQ(run.result->stopped_by, "ceiling");
  EXPECT_EQ(run.result->remark, "");
}

TEST(RampTest, TheTwoPerTokenLatenciesDifferByOnePrefillPerAnswer) {
  const Outcome run = RunRamp({.prefill_ms_per_token = 0.3, .noise = 0.01});
  ASSERT_TRUE(run.result.ok());
  const double difference = run.result->end_to_end.points[3].mean_ms_per_token -
                            run.result->time_per_output_token.points[3].mean_ms_per_token;
  EXPECT_NEAR(difference, run.result->PrefillMs(8) / 128, 1e-9);
  EXPECT_NEAR(LittleRatio(run.result->end_to_end.points[3]), 1, 1e-9);
}

TEST(RampTest, SameEventsGiveTheSameBits) {
  const Outcome one = RunRamp({.seed = 7}), other = RunRamp({.seed = 7});
  ASSERT_TRUE(one.result.ok() && other.result.ok());
  EXPECT_EQ(one.result->fit.law.a_ms, other.result->fit.law.a_ms);
  EXPECT_EQ(one.result->fit.law.b_ms, other.result->fit.law.b_ms);
  EXPECT_EQ(one.seconds, other.seconds);
}

TEST(RampTest, TheLastLevelLiesNearTheTarget) {
  RampConfig config = kConfig;
  config.target_ms = 25;
  config.max_concurrency = 128;
  const Outcome run = RunRamp({.a_ms = 16, .b_ms = 0.8}, config);
  ASSERT_TRUE(run.result.ok());
  EXPECT_EQ(run.result->stopped_by, "target");
  EXPECT_LT(run.result->time_per_output_token.points.back().mean_ms_per_token, 1.15 * 25);
  EXPECT_GT(run.result->time_per_output_token.points.back().mean_ms_per_token, 0.9 * 25);
}

TEST(RampTest, AnImpossibleTargetEndsItAtTwoStreams) {
  RampConfig config = kConfig;
  config.target_ms = 5;
  const Outcome run = RunRamp({.a_ms = 16, .b_ms = 0.8}, config);
  ASSERT_TRUE(run.result.ok());
  EXPECT_EQ(run.result->levels.size(), 2u);
}

TEST(RampTest, NeverHoldsMoreStreamsThanTheCeiling) {
  Server server({});
  RampConfig config = kConfig;
  config.max_concurrency = 11;
  Ramp ramp(config);
  Recording recording(ramp);
  Drive(server, recording, 600);
  ASSERT_TRUE(ramp.Result().ok());
  EXPECT_EQ(ramp.Result()->levels.back().concurrency, 11);
  EXPECT_EQ(recording.most_open, 11u);
}

TEST(RampTest, RequestsFitTheEnginesTotalTokens) {
  Server server({});
  RampConfig config = kConfig;
  config.max_total_tokens = 400;
  Ramp ramp(config);
  Recording recording(ramp);
  Drive(server, recording, 600);
  ASSERT_TRUE(ramp.Result().ok()) << ramp.Result().status();
  for (const StartStream& start : recording.starts) EXPECT_LE(start.prompt_tokens + start.max_output_tokens, 400);
}

TEST(RampTest, StartsAtTheAgesOfABusyServer) {
  Server server({});
  Ramp ramp(kConfig);
  Recording recording(ramp);
  Drive(server, recording, 600);
  double sum = 0, count = 0;
  for (const StartStream& start : recording.starts) {
    if (start.prompt_tokens <= 256) continue;
    EXPECT_LE(start.prompt_tokens, 256 + 128);
    sum += start.prompt_tokens - 256;
    ++count;
  }
  EXPECT_GE(count, 32);
  EXPECT_NEAR(sum / count, 64, 8);
}

TEST(RampTest, WarmsUpUntilAColdServerIsWarm) {
  ServerConfig cold{.noise = 0.02, .cold_factor = 3, .cold_s = 4};
  const Outcome run = RunRamp(cold), warm = RunRamp({.noise = 0.02});
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  EXPECT_GT(run.result->warm_up_seconds, 2 * warm.result->warm_up_seconds);
  EXPECT_NEAR(run.result->fit.law.a_ms / warm.result->fit.law.a_ms, 1, 0.12);
}

TEST(RampTest, AServerThatChangesMidwayVoidsThePassAndItIsRepeated) {
  const Outcome run = RunRamp({.jump_at_s = 3.5, .jump_factor = 1.5});
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  EXPECT_EQ(run.result->void_passes, 1);
  EXPECT_THAT(run.result->remark, HasSubstr("return leg"));
  EXPECT_NEAR(run.result->fit.law.a_ms, 1.5 * 16, 1.5);
}

// Every step costs more than the one before: no pass returns to where it started.
TEST(RampTest, AServerThatNeverHoldsStillIsTooNoisyToTell) {
  const Outcome run = RunRamp({.cold_factor = 0.1, .cold_s = 30});
  EXPECT_EQ(run.result.status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(run.result.status().message()), HasSubstr("too noisy to tell"));
  EXPECT_EQ(run.last.void_passes, 3);
  EXPECT_FALSE(run.last.levels.empty());
}

TEST(RampTest, AnEngineThatQueuesShowsItsOwnLimit) {
  const Outcome run = RunRamp({.max_batch = 10});
  ASSERT_TRUE(run.result.ok()) << run.result.status();
  EXPECT_EQ(run.result->stopped_by, "engine queues");
  EXPECT_DOUBLE_EQ(run.result->end_to_end.law.cap, 10);
}

TEST(RampTest, AnEngineThatDiesEndsTheRamp) {
  const Outcome run = RunRamp({.fails_after = 20});
  EXPECT_EQ(run.result.status().code(), absl::StatusCode::kUnavailable);
}

TEST(RampTest, FourTokensAtATimeGiveTheSameCurve) {
  const Outcome single = RunRamp({.noise = 0.01}), packed = RunRamp({.noise = 0.01, .tokens_per_chunk = 4});
  ASSERT_TRUE(single.result.ok() && packed.result.ok());
  for (const double c : {1.0, 4.0, 16.0, 32.0}) {
    EXPECT_NEAR(packed.result->end_to_end.MsPerToken(c) / single.result->end_to_end.MsPerToken(c), 1, 0.04) << c;
  }
}

TEST(RampTest, KeepsItsBudgets) {
  RampConfig config = kConfig;
  config.max_concurrency = 256;
  config.max_seconds = 5;
  const Outcome hurried = RunRamp({.a_ms = 20, .prefill_ms_per_token = 0.2}, config);
  ASSERT_TRUE(hurried.result.ok());
  EXPECT_EQ(hurried.result->stopped_by, "time");
  EXPECT_LT(hurried.result->seconds - hurried.result->warm_up_seconds, 6);
  config.max_seconds = 60;
  config.max_tokens = 12000;
  const Outcome frugal = RunRamp({.a_ms = 20}, config);
  ASSERT_TRUE(frugal.result.ok());
  EXPECT_EQ(frugal.result->stopped_by, "tokens");
  EXPECT_LT(frugal.result->prompt_tokens + frugal.result->output_tokens, 13000);
}

}  // namespace
}  // namespace patella::science
