// One generation request in flight: posts it, times its tokens, and reports how it ended.
//
// Lives on the Loop's thread. Shared by the probe runner and the load generator.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "lib/adapters/generation.h"
#include "lib/base/clock.h"
#include "lib/http/client.h"

namespace patella::loadgen {

struct CallResult {
  // OK: every token came. Unavailable: no connection, or broken off, or 502/503; ResourceExhausted: 429; FailedPrecondition: another
  // refusal (4xx), with the engine's words; Internal: it failed while generating; Cancelled: by Cancel.
  absl::Status status;
  int http_status = 0;  // 0: no answer
  int output_tokens = 0;
  adapters::StreamUsage usage;
};

struct CallEvents {
  std::function<void(int tokens, TimePoint arrived)> on_tokens;
  std::function<void(const CallResult&)> on_end;  // exactly once, never inside Start or Cancel
};

class GenerationCall {
 public:
  // `client` talks to target's host and port.
  static std::shared_ptr<GenerationCall> Start(http::Loop& loop, http::Client& client,
                                               const adapters::EngineTarget& target,
                                               const adapters::Generation& generation, CallEvents events);
  virtual ~GenerationCall() = default;
  virtual void Cancel() = 0;   // on_end(Cancelled) follows
  virtual void Abandon() = 0;  // cancels; no callback runs any more
};

// A client for `target` that keeps as many connections as a load may need.
std::unique_ptr<http::Client> ClientFor(http::Loop& loop, const adapters::EngineTarget& target);

}  // namespace patella::loadgen
