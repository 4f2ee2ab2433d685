// The reverse proxy that every request passes on its way to the engine.
//
// A generation request takes its permits, one a sequence, before any byte of it goes on, and holds them until the engine has ended its answer
// or the client has left; no permit, no engine. Everything else (/info, /v1/models, /tokenize, …) passes without. Bytes go on as they come; when a client
// reads too slowly the engine's connection is no longer read, so memory stays bounded. A client that leaves cancels its request upstream at
// once. An engine that cannot be reached is 503 with Retry-After; one that dies within a stream breaks the client's stream too.
//
// Lives on one Loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "lib/base/clock.h"
#include "lib/http/client.h"
#include "lib/http/server.h"
#include "sidecar/proxy/limiter.h"
#include "sidecar/proxy/stream_meter.h"

namespace patella::sidecar {

// Why a request was not let through, and the label of patella_admission_total{reason}.
enum class Refusal { kLimit, kQueueTimeout, kNotReady, kDraining };
std::string_view LabelOf(Refusal refusal);

// Everything that happens, for metrics and the tracker. All run on the loop's thread; any may be empty.
struct ProxyEvents {
  std::function<void(Limiter::Id)> on_admitted;
  std::function<void(Refusal)> on_refused;
  std::function<void(Limiter::Id, int64_t prompt_tokens)> on_prompt_computed;  // a sequence's first token came
  std::function<void(Limiter::Id, int tokens, double gap_ms)> on_tokens;       // of a sequence; gap 0: the first ones
  std::function<void(Limiter::Id, const StreamRecord&)> on_finished;  // of admitted requests, however they ended
  std::function<void(const absl::Status&)> on_engine_failure;         // could not be reached, or broke off
};

struct ProxyOptions {
  http::ClientOptions engine;
  std::string path_prefix;  // of the engine: "" or "/base"
  QueueOptions queue;
  size_t pause_above_bytes = 256 << 10;   // not yet taken by the client
  size_t buffer_up_to_bytes = 256 << 10;  // answers with a known smaller length go on in one piece
  int retry_after_seconds = 1;
};

class Proxy {
 public:
  Proxy(http::Loop& loop, ProxyOptions options, Budgets budgets, ProxyEvents events);
  ~Proxy();
  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  void Handle(http::Request request, std::shared_ptr<http::Exchange> exchange);

  // Closed: generation requests, /health and /ping get 503 with `message`. Those in flight go on.
  void Open();
  void Close(Refusal why, std::string message, int retry_after_seconds);

  void SetBudgets(Budgets budgets);
  void SetQueue(QueueOptions queue) { limiter_.SetQueue(queue); }

  const Limiter& limiter() const { return limiter_; }
  int64_t admitted_total() const { return admitted_total_; }
  int64_t rejected_total() const { return rejected_total_; }  // for want of a permit

 private:
  class Forward;

  void Refuse(http::Exchange& exchange, std::string_view path, Refusal refusal);
  RequestCost CostOf(const http::Request& request) const;
  void WatchQueue();

  http::Loop& loop_;
  const ProxyOptions options_;
  const ProxyEvents events_;
  Limiter limiter_;
  std::unique_ptr<http::Client> client_;
  std::unique_ptr<http::Loop::Timer> queue_timer_;
  bool open_ = false;
  Refusal closed_why_ = Refusal::kNotReady;
  std::string closed_message_ = "starting";
  int closed_retry_after_seconds_ = 5;
  double bytes_per_token_ = 4;  // of request bodies, learned from what engines say
  int64_t admitted_total_ = 0;
  int64_t rejected_total_ = 0;
  std::set<Forward*> forwards_;                                 // alive
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // callbacks of calls that outlive the proxy check it
};

// POST to one of the routes that generate.
bool IsGeneration(const http::Request& request);
// Drops fields that belong to one connection (RFC 9110, 7.6.1), those named by Connection, and our own between-replica fields.
void StripHopByHop(http::Headers& headers);

}  // namespace patella::sidecar
