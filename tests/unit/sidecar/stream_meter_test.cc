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
