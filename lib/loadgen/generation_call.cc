#include "lib/loadgen/generation_call.h"

#include <utility>

#include "lib/base/text.h"

namespace patella::loadgen {
namespace {

constexpr size_t kMaxErrorBody = 4096;

class Call final : public GenerationCall, public std::enable_shared_from_this<Call> {
 public:
  Call(http::Loop& loop, adapters::EngineKind kind, CallEvents events)
      : loop_(loop), events_(std::move(events)), parser_(kind, [this](int tokens) { OnTokens(tokens); }) {}

  void Begin(http::Client& client, http::Request request) {
    auto self = shared_from_this();  // the handlers keep this alive until on_done
    call_ = client.Start(std::move(request),
                         {.on_head = [self](const http::Response& head) { self->result_.http_status = head.status; },
                          .on_data = [self](std::string_view bytes) { self->OnData(bytes); },
                          .on_done = [self](const absl::Status& status) { self->OnDone(status); }});
  }

  void Cancel() override {
    cancelled_ = true;
    if (call_) call_->Cancel();
  }

  void Abandon() override {
    events_ = {};
    Cancel();
    call_.reset();  // its handlers hold this: without the loop, which may have stopped, nothing else would cut the
                    // circle
  }

 private:
  void OnData(std::string_view bytes) {
    arrived_ = loop_.Now();
    if (result_.http_status != 200) {
      error_body_.append(bytes.substr(0, kMaxErrorBody - std::min(kMaxErrorBody, error_body_.size())));
    } else if (stream_status_.ok()) {
      stream_status_ = parser_.Feed(bytes);
    }
  }

  void OnTokens(int tokens) {
    if (events_.on_tokens && !cancelled_) events_.on_tokens(tokens, arrived_);
  }

  void OnDone(const absl::Status& transport) {
    result_.status = Verdict(transport);
    result_.output_tokens = parser_.output_tokens();
    result_.usage = parser_.usage();
    call_.reset();
    if (auto on_end = std::exchange(events_, {}).on_end) on_end(result_);
  }

  absl::Status Verdict(const absl::Status& transport) const {
    if (cancelled_) return absl::CancelledError("cancelled by us");
    const int http = result_.http_status;
    if (http != 0 && http != 200) return OfHttp(http, adapters::ErrorMessage(error_body_));
    if (!stream_status_.ok()) return stream_status_;
    if (!transport.ok()) return transport;
    if (!parser_.finished()) return absl::UnavailableError("the engine ended the stream before its last token");
    return absl::OkStatus();
  }

  static absl::Status OfHttp(int status, std::string_view words) {
    const std::string message = StrCat("the engine answers ", status, ": ", words);
    if (status == 429) return absl::ResourceExhaustedError(message);
    if (status == 502 || status == 503) return absl::UnavailableError(message);
    return status < 500 && status != 424 ? absl::FailedPreconditionError(message) : absl::InternalError(message);
  }

  http::Loop& loop_;
  CallEvents events_;
  adapters::StreamParser parser_;
  std::shared_ptr<http::Call> call_;
  CallResult result_;
  absl::Status stream_status_;
  std::string error_body_;
  TimePoint arrived_{};
  bool cancelled_ = false;
};

}  // namespace

std::shared_ptr<GenerationCall> GenerationCall::Start(http::Loop& loop, http::Client& client,
                                                      const adapters::EngineTarget& target,
                                                      const adapters::Generation& generation, CallEvents events) {
  auto call = std::make_shared<Call>(loop, target.kind, std::move(events));
  call->Begin(client, adapters::GenerationRequest(target, generation));
  return call;
}

std::unique_ptr<http::Client> ClientFor(http::Loop& loop, const adapters::EngineTarget& target) {
  return http::Client::Create(loop, {.host = target.host, .port = target.port, .max_idle_connections = 512});
}

}  // namespace patella::loadgen
