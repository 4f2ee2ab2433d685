// Any bytes as a stream of server-sent events: the events do not depend on where the stream is cut.
#include <string>
#include <vector>

#include "lib/http/client.h"
#include "tests/fuzz/fuzz.h"

namespace patella::http {
namespace {

std::vector<std::string> Events(std::string_view stream, size_t cut) {
  std::vector<std::string> events;
  SseParser parser([&](std::string_view data) { events.emplace_back(data); });
  for (size_t at = 0; at < stream.size(); at += cut) {
    if (!parser.Feed(stream.substr(at, cut)).ok()) break;
  }
  return events;
}

}  // namespace
}  // namespace patella::http

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using patella::http::Events;
  if (size < 1 || size > 100'000) return 0;  // an event over the limit is refused wherever it is cut
  const std::string_view stream = patella::fuzz::Text(bytes + 1, size - 1);
  patella::fuzz::Promise(Events(stream, stream.size() + 1) == Events(stream, size_t{1} + bytes[0] % 5),
                         "cuts do not change the events");
  (void)patella::http::ParseUrl(stream);
  return 0;
}
