#include "sidecar/proxy/proxy.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/wire/errors.h"
#include "lib/wire/request_size.h"

namespace patella::sidecar {
namespace {

constexpr std::array<std::string_view, 6> kGenerationPaths = {
    "/generate", "/generate_stream", "/", "/invocations", "/v1/completions", "/v1/chat/completions"};
constexpr int64_t kDefaultOutputTokens = 128;  // reserved for a sequence of a request that does not say

ErrorKind KindFor(Refusal refusal) {
  return refusal == Refusal::kLimit || refusal == Refusal::kQueueTimeout ? ErrorKind::kOverloaded
                                                                         : ErrorKind::kUnavailable;
}

}  // namespace

std::string_view LabelOf(Refusal refusal) {
  switch (refusal) {
    case Refusal::kLimit:
      return "limit";
    case Refusal::kQueueTimeout:
      return "queue_timeout";
    case Refusal::kNotReady:
      return "not_ready";
    case Refusal::kDraining:
      return "draining";
  }
  return "unknown";
}

bool IsGeneration(const http::Request& request) {
  return request.method == "POST" && std::ranges::find(kGenerationPaths, request.path()) != kGenerationPaths.end();
}

void StripHopByHop(http::Headers& headers) {
  std::vector<std::string> doomed = {
      "Connection", "Keep-Alive",        "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "TE",
      "Trailer",    "Transfer-Encoding", "Upgrade"};
  for (const auto& [name, value] : headers) {
    if (absl::EqualsIgnoreCase(name, "Connection")) {
      for (std::string& named : std::vector<std::string>(absl::StrSplit(value, ','))) {
        absl::StripAsciiWhitespace(&named);
        doomed.push_back(std::move(named));
      }
    }
    if (absl::StartsWithIgnoreCase(name, "x-patella-")) doomed.push_back(name);
  }
  for (const std::string& name : doomed) headers.Remove(name);
}

// One request on its way. Owned by the callbacks of its call, or by the limiter's queue while it waits.
class Proxy::Forward : public std::enable_shared_from_this<Proxy::Forward> {
 public:
  Forward(Proxy& proxy, http::Request request, int sequences, std::shared_ptr<http::Exchange> exchange)
      : proxy_(proxy),
        alive_(proxy.alive_),
        path_(request.path()),
        sequences_(sequences),
        request_(std::move(request)),
        exchange_(std::move(exchange)),
        arrived_(proxy.loop_.Now()),
        meter_(arrived_) {
    proxy_.forwards_.insert(this);
  }
  ~Forward() {
    if (*alive_) proxy_.forwards_.erase(this);
  }
  Forward(const Forward&) = delete;
  Forward& operator=(const Forward&) = delete;

  void DropCall() { call_.reset(); }

  std::string_view path() const { return path_; }
  http::Exchange& exchange() { return *exchange_; }
  bool client_gone() const { return client_gone_; }

  void Admitted(Limiter::Id id) {
    id_ = id;
    queue_ms_ = Milliseconds(proxy_.loop_.Now() - arrived_);
    ++proxy_.admitted_total_;
    if (proxy_.events_.on_admitted) proxy_.events_.on_admitted(id);
    Start();
  }

  void Start() {
    if (request_.target.starts_with('/')) request_.target.insert(0, proxy_.options_.path_prefix);  // not OPTIONS *
    StripHopByHop(request_.headers);
    for (const char* name : {"Host", "Content-Length", "Expect"}) request_.headers.Remove(name);
    http::CallHandlers handlers;
    handlers.on_head = [self = shared_from_this()](const http::Response& head) { self->OnHead(head); };
    handlers.on_data = [self = shared_from_this()](std::string_view bytes) { self->OnData(bytes); };
    handlers.on_done = [self = shared_from_this()](const absl::Status& status) { self->OnDone(status); };
    call_ = proxy_.client_->Start(std::move(request_), std::move(handlers));
  }

  void WatchClient(Limiter::Id queued_id) {
    exchange_->OnClose([weak = weak_from_this(), queued_id] {
      if (const auto self = weak.lock()) self->OnClientGone(queued_id);
    });
  }

 private:
  void OnClientGone(Limiter::Id queued_id) {
    if (!*alive_ || finished_) return;
    client_gone_ = true;
    if (call_) call_->Cancel();
    if (id_ == 0) {
      proxy_.limiter_.Leave(queued_id);  // if it still waits for a permit; drops the last reference to this
    } else {
      Release(false);
    }
  }

  void OnHead(const http::Response& head) {
    if (!*alive_ || client_gone_) return;
    head_ = head;
    const std::string type(head.headers.Get("Content-Type"));
    meter_.OnHead(head.status, type);
    uint64_t length = 0;
    const bool known = absl::SimpleAtoi(std::string(head.headers.Get("Content-Length")), &length);
    buffering_ = head.status == 204 || head.status == 304 ||
                 (known && length <= proxy_.options_.buffer_up_to_bytes &&
                  !absl::StartsWithIgnoreCase(type, "text/event-stream"));
    StripHopByHop(head_.headers);
    head_.headers.Remove("Content-Length");
    head_.headers.Remove("Date");
    if (buffering_) return;
    streaming_ = true;
    exchange_->StartStream(head_.status, head_.headers);
    exchange_->OnDrain([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->OnDrain();
    });
  }

  void OnData(std::string_view bytes) {
    if (!*alive_ || client_gone_) return;
    Measure(bytes);
    if (buffering_) {
      head_.body.append(bytes);
      return;
    }
    exchange_->Write(std::string(bytes));
    if (!paused_ && exchange_->pending_bytes() > proxy_.options_.pause_above_bytes) {
      paused_ = true;
      call_->Pause();
    }
  }

  void Measure(std::string_view bytes) {
    if (id_ == 0) return;
    const TimePoint now = proxy_.loop_.Now();
    proxy_.limiter_.Tick(now);
    for (const Arrival& arrival : meter_.OnBytes(bytes, now)) {
      if (arrival.first) OnFirstToken();
      if (proxy_.events_.on_tokens) proxy_.events_.on_tokens(id_, arrival.tokens, arrival.gap_ms);
    }
  }

  // Of one sequence.
  void OnFirstToken() {
    const int64_t prompt_tokens = proxy_.limiter_.PromptComputed(id_);
    if (prompt_tokens > 0 && proxy_.events_.on_prompt_computed) proxy_.events_.on_prompt_computed(id_, prompt_tokens);
  }

  void OnDrain() {
    if (!paused_) return;
    paused_ = false;
    if (call_) call_->Resume();
  }

  void OnDone(const absl::Status& status) {
    call_.reset();
    if (!*alive_ || client_gone_) return;
    if (status.ok()) {
      if (streaming_) {
        exchange_->Finish();
      } else {
        exchange_->Send(std::move(head_));
      }
    } else {
      OnEngineFailure(status);
    }
    Release(status.ok());
  }

  void OnEngineFailure(const absl::Status& status) {
    if (streaming_) {
      exchange_->Abort();
    } else {
      const bool slow = absl::IsDeadlineExceeded(status);
      exchange_->Send(wire::ErrorResponse(
          slow ? ErrorKind::kTimeout : ErrorKind::kUnavailable,
          slow ? "The engine did not answer in time" : "The engine cannot be reached or broke off; try again later",
          path_, 5));
    }
    if (proxy_.events_.on_engine_failure) proxy_.events_.on_engine_failure(status);
  }

  // Gives the permit back and reports, once.
  void Release(bool complete) {
    if (std::exchange(finished_, true) || id_ == 0) return;
    StreamRecord record = meter_.Finish(complete, proxy_.loop_.Now());
    record.sequences = sequences_;
    record.queue_ms = queue_ms_;
    record.abandoned = client_gone_;
    if (record.prompt_tokens > 0) {
      const double seen = static_cast<double>(body_bytes_) / record.prompt_tokens;
      proxy_.bytes_per_token_ += 0.05 * (std::clamp(seen, 1.0, 16.0) - proxy_.bytes_per_token_);
    }
    if (proxy_.events_.on_finished) proxy_.events_.on_finished(id_, record);
    proxy_.limiter_.Leave(id_);
  }

  Proxy& proxy_;
  const std::shared_ptr<bool> alive_;
  const std::string path_;
  const int sequences_;
  http::Request request_;
  const std::shared_ptr<http::Exchange> exchange_;
  const TimePoint arrived_;
  StreamMeter meter_;
  std::shared_ptr<http::Call> call_;  // a cycle until on_done; ~Proxy breaks those that are left
  Limiter::Id id_ = 0;                // 0: has no permit and needs none, or waits for one
  http::Response head_;
  const size_t body_bytes_ = request_.body.size();
  double queue_ms_ = 0;
  bool buffering_ = false, streaming_ = false, paused_ = false, client_gone_ = false, finished_ = false;
};

Proxy::Proxy(http::Loop& loop, ProxyOptions options, Budgets budgets, ProxyEvents events)
    : loop_(loop),
      options_(std::move(options)),
      events_(std::move(events)),
      limiter_(budgets, options_.queue),
      client_(http::Client::Create(loop, options_.engine)) {}

Proxy::~Proxy() {
  *alive_ = false;
  for (Forward* forward : std::exchange(forwards_, {})) forward->DropCall();
}

void Proxy::Open() { open_ = true; }

void Proxy::Close(Refusal why, std::string message, int retry_after_seconds) {
  open_ = false;
  closed_why_ = why;
  closed_message_ = std::move(message);
  closed_retry_after_seconds_ = retry_after_seconds;
}

void Proxy::SetBudgets(Budgets budgets) { limiter_.SetBudgets(budgets); }

void Proxy::Handle(http::Request request, std::shared_ptr<http::Exchange> exchange) {
  const bool generation = IsGeneration(request);
  if (!open_ && (generation || request.path() == "/health" || request.path() == "/ping")) {
    return Refuse(*exchange, request.path(), closed_why_);
  }
  const RequestCost cost = generation ? CostOf(request) : RequestCost{};
  const auto forward = std::make_shared<Forward>(*this, std::move(request), cost.sequences, std::move(exchange));
  Limiter::Id id = 0;
  if (generation) {
    id = limiter_.Enter(cost, loop_.Now(), [this, forward](Limiter::Id admitted, Verdict verdict) {
      if (verdict == Verdict::kAdmitted) return forward->Admitted(admitted);
      Refuse(forward->exchange(), forward->path(),
             verdict == Verdict::kFull ? Refusal::kLimit : Refusal::kQueueTimeout);
    });
    WatchQueue();
  } else {
    forward->Start();
  }
  forward->WatchClient(id);
}

void Proxy::Refuse(http::Exchange& exchange, std::string_view path, Refusal refusal) {
  const bool overloaded = KindFor(refusal) == ErrorKind::kOverloaded;
  if (overloaded) ++rejected_total_;
  if (events_.on_refused) events_.on_refused(refusal);
  exchange.Send(wire::ErrorResponse(KindFor(refusal), overloaded ? "Model is overloaded" : closed_message_, path,
                                    overloaded ? options_.retry_after_seconds : closed_retry_after_seconds_));
}

RequestCost Proxy::CostOf(const http::Request& request) const {
  const wire::RequestSize size = wire::SizeOf(request.body);
  return {.prompt_tokens = static_cast<int64_t>(static_cast<double>(request.body.size()) / bytes_per_token_),
          .output_tokens = size.sequences * size.output_tokens.value_or(kDefaultOutputTokens),
          .sequences = size.sequences,
          .streamed = request.path() == "/generate_stream" || (request.path() != "/generate" && size.stream)};
}

void Proxy::WatchQueue() {
  if (limiter_.queued() == 0 || queue_timer_ != nullptr) return;
  queue_timer_ = loop_.Every(std::chrono::milliseconds(5), [this] {
    limiter_.Tick(loop_.Now());
    if (limiter_.queued() == 0)
      loop_.Post([this, alive = alive_] {  // a timer must not destroy itself while it runs
        if (*alive && limiter_.queued() == 0) queue_timer_.reset();
      });
  });
}

}  // namespace patella::sidecar
