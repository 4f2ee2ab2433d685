// Headers, URLs and event streams: no sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/http/client.h"
#include "lib/http/message.h"

namespace patella::http {
namespace {

using testing::ElementsAre;

TEST(HeadersTest, NamesCompareWithoutRegardToCase) {
  Headers headers{{"Content-Type", "a"}, {"X", "1"}, {"x", "2"}};
  EXPECT_EQ(headers.Get("content-type"), "a");
  EXPECT_EQ(headers.Get("X"), "1");
  headers.Set("x", headers.Get("X"));
  EXPECT_EQ(std::distance(headers.begin(), headers.end()), 2);
  headers.Remove("X");
  EXPECT_FALSE(headers.Has("x"));
  EXPECT_EQ(headers.Get("nothing"), "");
}

TEST(RequestTest, SplitsTheTargetAtTheFirstQuestionMark) {
  Request request;
  request.target = "/a/b?c=d?e";
  EXPECT_EQ(request.path(), "/a/b");
  EXPECT_EQ(request.query(), "c=d?e");
}

TEST(UrlTest, ReadsHostPortAndPath) {
  const auto url = ParseUrl("http://engine.example:3000/v1/models?x=1#top");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->host, "engine.example");
  EXPECT_EQ(url->port, 3000);
  EXPECT_EQ(url->path, "/v1/models?x=1");
  EXPECT_EQ(ParseUrl("HTTP://127.0.0.1")->port, 80);
  EXPECT_EQ(ParseUrl("http://[::1]:8080/")->host, "::1");
  EXPECT_EQ(ParseUrl("http://a?b")->path, "/?b");
}

TEST(UrlTest, RefusesWhatItCannotSpeak) {
  for (const char* text :
       {"", "localhost:80", "https://a/", "ftp://a", "http://", "http://:80", "http://a:", "http://a:0",
        "http://a:65536", "http://a:8x", "http://u:p@a/", "http://[::1", "http://a b/", "http://a/\r\nX:"}) {
    EXPECT_EQ(ParseUrl(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

std::vector<std::string> EventsOf(std::string_view stream, size_t step) {
  std::vector<std::string> events;
  SseParser parser([&](std::string_view data) { events.emplace_back(data); });
  for (size_t i = 0; i < stream.size(); i += step) EXPECT_TRUE(parser.Feed(stream.substr(i, step)).ok());
  return events;
}

TEST(SseParserTest, FindsEventsWhateverTheChunkBorders) {
  const std::string_view stream =
      ": hello\n\ndata: one\n\ndata:two\r\ndata:  three\r\n\r\nevent: x\nid: 7\ndata: four\n\nretry: 5\n\ndata\n\n"
      "data: a\r\rdata: [DONE]\n\ndata: never ended\n";
  for (size_t step = 1; step <= stream.size(); ++step) {
    ASSERT_THAT(EventsOf(stream, step), ElementsAre("one", "two\n three", "four", "", "a", "[DONE]")) << step;
  }
}

TEST(SseParserTest, RefusesAnEventOverTheLimit) {
  SseParser parser([](std::string_view) {}, 100);
  EXPECT_TRUE(parser.Feed("data: " + std::string(90, 'x')).ok());
  EXPECT_EQ(parser.Feed(std::string(90, 'x')).code(), absl::StatusCode::kResourceExhausted);
  SseParser lines([](std::string_view) {}, 100);
  absl::Status status;
  for (int i = 0; i < 20 && status.ok(); ++i) status = lines.Feed("data: 0123456789\n");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace patella::http
