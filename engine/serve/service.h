// The HTTP routes: TGI's, OpenAI's and SageMaker's, over one engine loop.
//
// Everything here runs on the http::Loop's thread. A request takes its permits (one a prompt) before a byte of the answer is
// written and gives them back when its exchange is done: the stream has ended or the client has gone. A client that leaves has its
// sequences cancelled within a step.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/serve/engine_loop.h"
#include "engine/serve/engine_metrics.h"
#include "engine/serve/generation.h"
#include "engine/text/tokenizer.h"
#include "lib/base/error_kind.h"
#include "lib/http/server.h"

namespace patella::engine {

class Service {
 public:
  Service(http::Loop& loop, const Tokenizer& tokenizer, ServiceOptions options);
  ~Service();

  void Attach(EngineLoop& engine);  // before it starts and before the first Handle
  void Handle(http::Request request, std::shared_ptr<http::Exchange> exchange);
  void OnEvents(std::vector<Event> events);
  // Readiness answers 503 and new generation too, running requests finish. What still runs after `limit` is cancelled: its
  // client gets an error that says so. on_empty runs once, when nothing is in flight or soon after the cancelling.
  void Drain(Duration limit, std::function<void()> on_empty);
  int in_flight() const { return in_flight_; }

 private:
  struct Place {  // of a sequence: its request and which of its prompts it is
    std::shared_ptr<Generation> generation;
    size_t index;
  };

  void HandleGet(const http::Request& request, http::Exchange& exchange);
  void HandleGenerate(Route route, const http::Request& request, std::shared_ptr<http::Exchange> exchange);
  void HandleTokenize(const http::Request& request, http::Exchange& exchange, bool chat);
  void Launch(std::shared_ptr<Generation> generation, std::vector<std::vector<int32_t>> prompts);
  void Forget(const Generation& generation);
  void Release(int permits);
  void KeepStreamsAlive();
  void CancelAll();
  void EndDrain();
  std::string InfoBody() const;
  void ReplyError(http::Exchange& exchange, ErrorKind kind, std::string_view message, std::string_view path) const;

  http::Loop& loop_;
  const Tokenizer& tokenizer_;
  const ServiceOptions options_;
  EngineLoop* engine_ = nullptr;
  EngineMetrics metrics_;
  std::unordered_map<uint64_t, Place> by_sequence_;
  uint64_t next_id_ = 1;
  int in_flight_ = 0;
  bool draining_ = false;
  std::function<void()> on_empty_;
  std::unique_ptr<http::Loop::Timer> keep_alive_timer_, drain_timer_;
};

}  // namespace patella::engine
