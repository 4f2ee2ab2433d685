// What is not HTTP, or too much of it, is refused before the handler sees it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "lib/base/text.h"
#include "tests/unit/http/testing.h"

namespace patella::http {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct MalformedCase {
  const char* name;
  std::string request;
  const char* status;
};

class MalformedTest : public testing::TestWithParam<MalformedCase> {};

TEST_P(MalformedTest, IsRefusedAndTheConnectionCloses) {
  std::atomic<int> handled{0};
  ServerThread server(
      [&](Request, std::shared_ptr<Exchange> exchange) {
        ++handled;
        exchange->Send({});
      },
      {.max_header_bytes = 2048, .max_body_bytes = 1000});
  RawSocket client(server.port);
  client.Send(GetParam().request);
  const std::string answer = client.ReadToEnd();
  EXPECT_THAT(answer, StartsWith(StrCat("HTTP/1.1 ", GetParam().status, " ")));
  EXPECT_THAT(answer, AllOf(HasSubstr("Connection: close"), HasSubstr("\"error_type\"")));
  EXPECT_EQ(handled, 0);
}

INSTANTIATE_TEST_SUITE_P(
    Table, MalformedTest,
    testing::Values(
        MalformedCase{"Garbage", "hello\r\n\r\n", "400"},
        MalformedCase{"Tls", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 15), "400"},
        MalformedCase{"Http2Preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
        MalformedCase{"NoHost", "GET / HTTP/1.1\r\n\r\n", "400"},
        MalformedCase{"TwoHosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
        MalformedCase{"SpaceBeforeColon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"},
        MalformedCase{"BareLineFeeds", "GET / HTTP/1.1\nHost: a\n\n", "400"},
        MalformedCase{"ControlCharacterInValue", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01z\r\n\r\n", "400"},
        MalformedCase{"TargetWithoutSlash", "GET index HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        MalformedCase{"Connect", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
        MalformedCase{"NegativeLength", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "400"},
        MalformedCase{"TwoLengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                      "400"},
        MalformedCase{"LengthAndChunked",
                      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                      "400"},
        MalformedCase{"ChunkedAndLength",
                      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
                      "400"},
        MalformedCase{"UnknownEncoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "400"},
        MalformedCase{"ObfuscatedEncoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", "400"},
        MalformedCase{"BadChunkSize", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
        MalformedCase{"EndlessChunkHeader",
                      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;" + std::string(5000, 'x'),
                      "400"},
        MalformedCase{"LongTarget", "GET /" + std::string(4000, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n", "431"},
        MalformedCase{"EndlessFirstLine", std::string(4000, 'G'), "431"},
        MalformedCase{"LongHeader", "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(4000, 'x') + "\r\n\r\n", "431"},
        MalformedCase{"ManyHeaders",
                      [] {
                        std::string text = "GET / HTTP/1.1\r\nHost: a\r\n";
                        for (int i = 0; i < 400; ++i) text += "a: b\r\n";
                        return text + "\r\n";
                      }(),
                      "431"},
        MalformedCase{"LargeBody", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", "413"},
        MalformedCase{
            "LargeChunkedBody",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x'), "413"},
        MalformedCase{"HugeLength", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                      "400"},
        MalformedCase{"UnknownExpectation",
                      "POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n", "417"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace patella::http
