// What one proxied answer says about the engine: when its tokens came and how many there were.
//
// Counts tokens as lib/wire's stream_event.h does; `usage`, where the client asked for it, corrects the sum. A request for several answers
// gets them interleaved: gaps, and the time per output token, are of each answer by itself. Answers that are no stream give their token
// counts but no time per output token. Never changes or holds back a byte.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/wire/stream_event.h"

namespace patella::sidecar {

struct StreamRecord {
  bool ok = false;         // the answer came to its end with status 200
  bool abandoned = false;  // the client left first
  bool streamed = false;   // server-sent events: time_to_first_token_ms and time_per_output_token_ms have a meaning
  int prompt_tokens = 0;   // 0: not said
  int cached_tokens = 0;
  int output_tokens = 0;              // of all its sequences
  int sequences = 1;                  // that the request asked for
  double queue_ms = 0;                // waiting for a permit
  double time_to_first_token_ms = 0;  // of its first sequence to have one, from the request's arrival at the proxy
  double time_per_output_token_ms = 0;  // Σ(last − first)/Σ(tokens − 1) over its sequences; 0 if none has two tokens
  double end_to_end_ms = 0;             // from arrival to the last byte
};

// Tokens of one sequence that came together.
struct Arrival {
  int tokens = 0;
  bool first = false;  // of this sequence
  double gap_ms = 0;   // since those before; 0 if first
};

class StreamMeter {
 public:
  explicit StreamMeter(TimePoint arrived) : arrived_(arrived) {}

  void OnHead(int status, std::string_view content_type);
  // What these bytes brought, one a sequence. Valid until the next call.
  std::span<const Arrival> OnBytes(std::string_view bytes, TimePoint now);
  StreamRecord Finish(bool complete, TimePoint now);

 private:
  struct Sequence {
    wire::PieceCounter pieces;
    TimePoint first{}, last{};
    int tokens = 0;  // by events
    int fresh = 0;   // of the bytes at hand
  };

  void OnLine(std::string_view line);
  void ReadUsage(std::string_view json);

  TimePoint arrived_, first_{};
  int status_ = 0;
  bool streamed_ = false;
  std::string partial_;              // of a line (stream) or the tail of a body (no stream)
  std::vector<Sequence> sequences_;  // by the choice's index
  std::vector<Arrival> arrivals_;
  int output_tokens_ = 0;  // by events
  int prompt_tokens_ = 0, cached_tokens_ = 0, usage_output_tokens_ = 0;
};

// The number that follows `"key":` in JSON text, or fallback. The last occurrence counts, as engines put usage at the end.
int64_t FindNumber(std::string_view json, std::string_view key, int64_t fallback);

}  // namespace patella::sidecar
