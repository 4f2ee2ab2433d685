#include "sidecar/proxy/stream_meter.h"

#include <gtest/gtest.h>

namespace patella::sidecar {
namespace {

TimePoint At(int ms) { return TimePoint(std::chrono::milliseconds(ms)); }

TEST(StreamMeterTest, TimePerOutputTokenExcludesTheFirstToken) {
  StreamMeter meter(At(0));
  meter.OnHead(200, "text/event-stream");
  meter.OnBytes("data:{\"token\":{\"id\":1,\"text\":\"a\"}}\n\n", At(100));
  meter.OnBytes("data:{\"token\":{\"id\":2,\"text\":\"b\"}}\n\n", At(110));
  meter.OnBytes("data:{\"token\":{\"id\":3,\"text\":\"\"}}\n\n", At(130));
  const StreamRecord record = meter.Finish(true, At(140));
  EXPECT_TRUE(record.ok);
  EXPECT_EQ(record.output_tokens, 3);
  EXPECT_DOUBLE_EQ(record.time_to_first_token_ms, 100);
  EXPECT_DOUBLE_EQ(record.time_per_output_token_ms, 15);
  EXPECT_DOUBLE_EQ(record.end_to_end_ms, 140);
}

TEST(StreamMeterTest, TheBordersOfChunksDoNotMatter) {
  const std::string stream =
      "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\" you\"}}]}\n\n"
      "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2,\"total_tokens\":9}}\n\ndata: "
      "[DONE]\n\n";
  for (size_t chunk = 1; chunk < stream.size(); chunk += 7) {
    StreamMeter meter(At(0));
    meter.OnHead(200, "text/event-stream; charset=utf-8");
    for (size_t at = 0; at < stream.size(); at += chunk)
      meter.OnBytes(std::string_view(stream).substr(at, chunk), At(1 + at));
    const StreamRecord record = meter.Finish(true, At(1000));
    EXPECT_EQ(record.output_tokens, 2) << chunk;
    EXPECT_EQ(record.prompt_tokens, 7) << chunk;
  }
}

TEST(StreamMeterTest, UsageCorrectsEventsThatCarryMoreThanOneToken) {
  StreamMeter meter(At(0));
  meter.OnHead(200, "text/event-stream");
  meter.OnBytes("data: {\"choices\":[{\"text\":\"a b\"}]}\n\n", At(10));
  meter.OnBytes("data: {\"choices\":[{\"text\":\" c d\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n",
                At(50));
  const StreamRecord record = meter.Finish(true, At(50));
  EXPECT_EQ(record.output_tokens, 5);
  EXPECT_DOUBLE_EQ(record.time_per_output_token_ms, 10);
}

TEST(StreamMeterTest, TokensWithoutTextCountAsTokens) {  // parts of one character
  StreamMeter meter(At(0));
  meter.OnHead(200, "text/event-stream");
  meter.OnBytes("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n", At(5));
  const char* texts[] = {"", "", "世", "", "", "界"};
  for (int i = 0; i < 6; ++i) {
    const auto arrivals = meter.OnBytes(
        "data: {\"choices\":[{\"delta\":{\"content\":\"" + std::string(texts[i]) + "\"}}]}\n\n", At(10 * (i + 1)));
    ASSERT_EQ(arrivals.size(), 1u) << i;
    EXPECT_EQ(arrivals[0].tokens, 1);
    EXPECT_DOUBLE_EQ(arrivals[0].gap_ms, i == 0 ? 0 : 10);
  }
  meter.OnBytes("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", At(70));
  const StreamRecord record = meter.Finish(true, At(70));
  EXPECT_EQ(record.output_tokens, 6);
  EXPECT_DOUBLE_EQ(record.time_to_first_token_ms, 10);
  EXPECT_DOUBLE_EQ(record.time_per_output_token_ms, 10);
}

std::string Chunk(int choice) {
  return "data: {\"choices\":[{\"index\":" + std::to_string(choice) + ",\"text\":\"a\"}]}\n\n";
}

TEST(StreamMeterTest, InterleavedChoicesAreMeasuredEachByItself) {
  StreamMeter meter(At(0));
  meter.OnHead(200, "text/event-stream");
  // Three choices, each with a token every 30 ms, one of them begun later and ended sooner.
  for (int step = 0; step < 10; ++step) {
    for (int choice : {0, 1, 2}) {
      if (choice == 2 && (step < 2 || step > 7)) continue;
      const auto arrivals = meter.OnBytes(Chunk(choice), At(100 + 30 * step + choice));
      ASSERT_EQ(arrivals.size(), 1u);
      const bool first = step == (choice == 2 ? 2 : 0);
      EXPECT_EQ(arrivals[0].first, first);
      EXPECT_DOUBLE_EQ(arrivals[0].gap_ms, first ? 0 : 30);
    }
  }
  const StreamRecord record = meter.Finish(true, At(500));
  EXPECT_EQ(record.output_tokens, 26);
  EXPECT_DOUBLE_EQ(record.time_to_first_token_ms, 100);
  EXPECT_DOUBLE_EQ(record.time_per_output_token_ms, 30);
}

TEST(StreamMeterTest, ChoicesThatComeInOnePieceAreStillTheirOwn) {
  StreamMeter meter(At(0));
  meter.OnHead(200, "text/event-stream");
  meter.OnBytes(Chunk(0), At(10));
  const auto arrivals = meter.OnBytes(Chunk(0) + Chunk(1) + Chunk(0), At(50));
  ASSERT_EQ(arrivals.size(), 2u);
  EXPECT_EQ(arrivals[0].tokens, 2);
  EXPECT_DOUBLE_EQ(arrivals[0].gap_ms, 40);
  EXPECT_EQ(arrivals[1].tokens, 1);
  EXPECT_TRUE(arrivals[1].first);
  meter.OnBytes("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":6}}\n\n", At(60));
  EXPECT_DOUBLE_EQ(meter.Finish(true, At(60)).time_per_output_token_ms, 10) << "40 ms for 6 tokens, 2 of them first";
}

TEST(StreamMeterTest, AnyIndexOfAChoiceIsBorne) {
  StreamMeter meter(At(0));
  meter.OnHead(200, "text/event-stream");
  for (int choice : {2'000'000'000, -1}) EXPECT_EQ(meter.OnBytes(Chunk(choice), At(10)).size(), 1u);
  EXPECT_EQ(meter.Finish(true, At(20)).output_tokens, 2);
}

TEST(StreamMeterTest, AnAnswerThatIsNoStreamGivesCountsButNoTokenTimes) {
  StreamMeter meter(At(0));
  meter.OnHead(200, "application/json");
  meter.OnBytes("{\"generated_text\":\"x\",\"details\":{\"generated_tokens\":12}}", At(200));
  const StreamRecord record = meter.Finish(true, At(200));
  EXPECT_FALSE(record.streamed);
  EXPECT_EQ(record.output_tokens, 12);
  EXPECT_EQ(record.time_per_output_token_ms, 0);
}

TEST(StreamMeterTest, ErrorsAreNotOk) {
  StreamMeter meter(At(0));
  meter.OnHead(422, "application/json");
  EXPECT_FALSE(meter.Finish(true, At(1)).ok);
}

TEST(StreamMeterTest, NumbersAreFoundOnlyUnderTheirWholeKey) {
  EXPECT_EQ(FindNumber(R"({"max_tokens": 12, "xmax_tokens": 9})", "max_tokens", -1), 12);
  EXPECT_EQ(FindNumber(R"({"max_tokens": null})", "max_tokens", -1), -1);
  EXPECT_EQ(FindNumber("max_tokens", "max_tokens", -1), -1);
  EXPECT_EQ(FindNumber("", "max_tokens", -1), -1);
}

}  // namespace
}  // namespace patella::sidecar
