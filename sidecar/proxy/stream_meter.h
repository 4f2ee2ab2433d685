// What one proxied answer says about the engine: when its tokens came and how many there were.
//
// Counts tokens by looking for a few JSON keys in each event, without parsing it: a proxy must cost far less than a token. Events of
// TGI's streams carry one token each; events of OpenAI's carry at least one, and `usage`, where the client asked for it, corrects the sum.
// Answers that are no stream give their token counts but no time per output token. Never changes or holds back a byte.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/clock.h"

namespace patella::sidecar {

struct StreamRecord {
  bool ok = false;         // the answer came to its end with status 200
  bool abandoned = false;  // the client left first
  bool streamed = false;   // server-sent events: time_to_first_token_ms and time_per_output_token_ms have a meaning
  int prompt_tokens = 0;   // 0: not said
  int cached_tokens = 0;
  int output_tokens = 0;
  double queue_ms = 0;                  // waiting for a permit
  double time_to_first_token_ms = 0;    // from the request's arrival at the proxy
  double time_per_output_token_ms = 0;  // (last − first)/(tokens − 1): without the first token; 0 if fewer than two
  double end_to_end_ms = 0;             // from arrival to the last byte
};

class StreamMeter {
 public:
  explicit StreamMeter(TimePoint arrived) : arrived_(arrived) {}

  void OnHead(int status, std::string_view content_type);
  // Returns the number of tokens that these bytes brought.
  int OnBytes(std::string_view bytes, TimePoint now);
  StreamRecord Finish(bool complete, TimePoint now);

  bool first_token_seen() const { return output_tokens_ > 0; }
  int output_tokens() const { return output_tokens_; }
  double last_gap_ms() const { return last_gap_ms_; }  // before the newest tokens; 0 for the first

 private:
  void OnLine(std::string_view line);
  void ReadUsage(std::string_view json);

  TimePoint arrived_, first_{}, last_{};
  int status_ = 0;
  bool streamed_ = false;
  std::string partial_;    // of a line (stream) or the tail of a body (no stream)
  int output_tokens_ = 0;  // by events
  int prompt_tokens_ = 0, cached_tokens_ = 0, usage_output_tokens_ = 0;
  double last_gap_ms_ = 0;
};

// The number that follows `"key":` in JSON text, or fallback. The last occurrence counts, as engines put usage at the end.
int64_t FindNumber(std::string_view json, std::string_view key, int64_t fallback);

}  // namespace patella::sidecar
