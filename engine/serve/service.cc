#include "engine/serve/service.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/serve/prompts.h"
#include "engine/serve/routes.h"
#include "lib/base/logging.h"
#include "lib/base/text.h"
#include "lib/metrics/metrics.h"
#include "lib/wire/errors.h"
#include "lib/wire/openai.h"
#include "lib/wire/tgi.h"

namespace patella::engine {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr Duration kStuck = std::chrono::seconds(30);     // no forward pass takes so long
constexpr Duration kLastBytes = std::chrono::seconds(2);  // for cancelled requests to tell their clients
constexpr char kShuttingDown[] = "the engine is shutting down";

absl::StatusOr<wire::GenerateCall> Parse(Route route, const std::string& body) {
  if (route == Route::kCompletions) return wire::ParseCompletionCall(body);
  if (route == Route::kChat) return wire::ParseChatCall(body);
  absl::StatusOr<wire::GenerateCall> call = wire::ParseTgiCall(body);
  if (!call.ok()) return call;
  if (route == Route::kGenerate) call->stream = false;
  if (route == Route::kGenerateStream) call->stream = true;
  if (call->stream && call->prompt_logprobs)
    return absl::OutOfRangeError("`decoder_input_details` == true is not supported when streaming tokens");
  return call;
}

void Reply(http::Exchange& exchange, std::string body, std::string_view type = "application/json") {
  exchange.Send({.status = 200, .headers = {{"Content-Type", std::string(type)}}, .body = std::move(body)});
}

std::string Dump(const OrderedJson& json) { return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace); }

}  // namespace

Service::Service(http::Loop& loop, const Tokenizer& tokenizer, ServiceOptions options)
    : loop_(loop), tokenizer_(tokenizer), options_(std::move(options)), metrics_(options_.version) {}
Service::~Service() = default;

void Service::Attach(EngineLoop& engine) {
  engine_ = &engine;
  engine.OnStep([this](const StepReport& report) { metrics_.CountStep(report); });
}

void Service::ReplyError(http::Exchange& exchange, ErrorKind kind, std::string_view message,
                         std::string_view path) const {
  http::Response response = wire::ErrorResponse(kind, message, path);
  if (draining_) response.headers.Set("Connection", "close");  // what comes next should go elsewhere
  exchange.Send(std::move(response));
}

void Service::Handle(http::Request request, std::shared_ptr<http::Exchange> exchange) {
  const std::string path(request.path());
  if (const HttpRoute* route = FindRoute(request.method, path)) {
    switch (route->kind) {
      case HttpRoute::Kind::kRead:
        return HandleGet(request, *exchange);
      case HttpRoute::Kind::kTokenize:
      case HttpRoute::Kind::kChatTokenize:
        return HandleTokenize(request, *exchange, route->kind == HttpRoute::Kind::kChatTokenize);
      case HttpRoute::Kind::kGenerate:
        return HandleGenerate(route->generates, request, std::move(exchange));
    }
  }
  const std::string methods = MethodsOf(path);
  if (methods.empty())
    return ReplyError(*exchange, ErrorKind::kNotFound, "no route " + path + "; there are: " + RoutesText(), path);
  http::Response response =
      wire::ErrorResponse(ErrorKind::kNotFound, request.method + " is not allowed on " + path, path);
  response.status = 405;
  response.headers.Set("Allow", methods);
  exchange->Send(std::move(response));
}

std::string Service::InfoBody() const {
  const Limits limits = engine_->limits().limits;
  const int64_t capacity = engine_->stats().schedule.capacity_tokens;
  return Dump({{"model_id", options_.model_id},
               {"served_model_name", options_.served_name},
               {"model_dtype", "gguf"},
               {"model_device_type", options_.backend},
               {"max_concurrent_requests", limits.max_concurrent_requests},
               {"max_best_of", 1},
               {"max_stop_sequences", 16},
               {"max_input_tokens", options_.max_input_tokens},
               {"max_total_tokens", options_.max_total_tokens},
               {"max_batch_prefill_tokens", limits.max_batch_prefill_tokens},
               {"max_batch_total_tokens", limits.max_batch_total_tokens > 0 ? limits.max_batch_total_tokens : capacity},
               {"max_batch_size", limits.max_batch_size},
               {"kv_capacity_tokens", capacity},
               {"waiting_served_ratio", 0},
               {"max_waiting_tokens", 0},
               {"validation_workers", 1},
               {"max_client_batch_size", limits.max_concurrent_requests},
               {"router", "patella-engine"},
               {"version", options_.version}});
}

void Service::HandleGet(const http::Request& request, http::Exchange& exchange) {
  const std::string_view path = request.path();
  if (path == "/info" || path == "/") return Reply(exchange, InfoBody());
  if (path == "/metrics") {
    return Reply(exchange, metrics_.Render(engine_->stats(), engine_->limits(), in_flight_),
                 metrics::Metrics::kContentType);
  }
  if (path == "/v1/models")
    return Reply(exchange, wire::OpenAiModels(options_.served_name, 0, options_.max_total_tokens));
  if (draining_) return ReplyError(exchange, ErrorKind::kUnavailable, kShuttingDown, path);
  if (engine_->StepAge(loop_.Now()) > kStuck)
    return ReplyError(exchange, ErrorKind::kUnavailable, "the engine hangs in a step", path);
  Reply(exchange, "", "text/plain");
}

void Service::HandleTokenize(const http::Request& request, http::Exchange& exchange, bool chat) {
  absl::StatusOr<wire::GenerateCall> call = chat ? wire::ParseChatCall(request.body) : wire::ParseTgiCall(request.body);
  if (!call.ok()) return ReplyError(exchange, KindOf(call.status()), ToStd(call.status().message()), request.path());
  absl::StatusOr<std::vector<std::vector<int32_t>>> prompts = EncodePrompts(tokenizer_, *call);
  if (!prompts.ok())
    return ReplyError(exchange, KindOf(prompts.status()), ToStd(prompts.status().message()), request.path());
  std::vector<wire::TokenSpan> tokens;
  size_t at = 0;
  for (int32_t id : prompts->front()) {
    const std::string text = tokenizer_.TokenBytes(id, /*special=*/true);
    tokens.push_back({id, text, at, at + text.size()});
    at += text.size();
  }
  const std::string list = wire::TgiTokens(tokens);
  if (!chat) return Reply(exchange, list);
  Reply(exchange, Dump({{"tokenize_response", OrderedJson::parse(list)},
                        {"templated_text", tokenizer_.Decode(prompts->front(), false)}}));
}

void Service::HandleGenerate(Route route, const http::Request& http, std::shared_ptr<http::Exchange> exchange) {
  const TimePoint arrived = loop_.Now();
  metrics_.CountRequest();
  const auto refuse = [&](ErrorKind kind, std::string_view message) {
    metrics_.CountFailure(InfoOf(kind).metric_label);
    ReplyError(*exchange, kind, message, http.path());
  };
  if (draining_) return refuse(ErrorKind::kUnavailable, kShuttingDown);
  const int limit = engine_->limits().limits.max_concurrent_requests;
  if (in_flight_ >= limit) return refuse(ErrorKind::kOverloaded, "Model is overloaded");
  absl::StatusOr<wire::GenerateCall> call = Parse(route, http.body);
  if (!call.ok()) return refuse(KindOf(call.status()), ToStd(call.status().message()));
  absl::StatusOr<std::vector<std::vector<int32_t>>> prompts = EncodePrompts(tokenizer_, *call);
  const absl::Status status = prompts.ok() ? CheckLengths(options_, *prompts, &*call) : prompts.status();
  if (!status.ok()) return refuse(KindOf(status), ToStd(status.message()));
  const int permits = static_cast<int>(prompts->size());
  if (permits > limit) {
    return refuse(ErrorKind::kValidation, StrCat(permits, " prompts exceed MAX_CONCURRENT_REQUESTS, ", limit));
  }
  if (in_flight_ + permits > limit) return refuse(ErrorKind::kOverloaded, "Model is overloaded");
  in_flight_ += permits;
  metrics_.CountAdmitted(Seconds(loop_.Now() - arrived), *prompts, call->max_new_tokens);
  Launch(std::make_shared<Generation>(options_, tokenizer_, *engine_, metrics_,
                                      Call{route, std::string(http.path()), *std::move(call), arrived},
                                      std::move(exchange)),
         *std::move(prompts));
}

void Service::Launch(std::shared_ptr<Generation> generation, std::vector<std::vector<int32_t>> prompts) {
  const int permits = static_cast<int>(prompts.size());
  std::vector<Job> jobs = generation->MakeJobs(std::move(prompts), next_id_);
  next_id_ += jobs.size();
  for (size_t i = 0; i < jobs.size(); ++i) by_sequence_[jobs[i].id] = {generation, i};
  http::Exchange& exchange = generation->exchange();
  // The exchange must not own what owns it: by_sequence_ alone keeps the request.
  exchange.OnClose([this, weak = std::weak_ptr(generation)] {
    const std::shared_ptr<Generation> left = weak.lock();
    if (left == nullptr) return;
    left->Drop();
    Forget(*left);
  });
  exchange.OnDone([this, permits] { Release(permits); });
  generation->Begin();
  if (keep_alive_timer_ == nullptr && options_.keep_alive > Duration::zero())
    keep_alive_timer_ = loop_.Every(options_.keep_alive / 4, [this] { KeepStreamsAlive(); });
  for (Job& job : jobs) engine_->Submit(std::move(job));
}

void Service::KeepStreamsAlive() {
  for (const auto& [id, place] : by_sequence_) place.generation->KeepAlive(loop_.Now());
}

void Service::Release(int permits) {
  in_flight_ -= permits;
  if (in_flight_ == 0 && draining_) EndDrain();
}

void Service::OnEvents(std::vector<Event> events) {
  for (const Event& event : events) {
    const auto at = by_sequence_.find(event.id);
    if (at == by_sequence_.end()) continue;  // finished or given up in the meantime
    const Place place = at->second;
    place.generation->OnEvent(place.index, event, loop_.Now());
    if (place.generation->over()) {
      Forget(*place.generation);
    } else if (place.generation->ended(place.index)) {
      by_sequence_.erase(at);
    }
  }
}

void Service::Forget(const Generation& generation) {
  const std::vector<uint64_t> ids = generation.ids();  // the last entry may be what keeps `generation`
  for (uint64_t id : ids) by_sequence_.erase(id);
}

void Service::Drain(Duration limit, std::function<void()> on_empty) {
  draining_ = true;
  on_empty_ = std::move(on_empty);
  if (in_flight_ == 0) return EndDrain();
  drain_timer_ = loop_.After(limit, [this] { CancelAll(); });
}

void Service::CancelAll() {
  LogWarning("drain_over", {{"cancelled", in_flight_}, {"action", "raise DRAIN_SECONDS if answers may take longer"}});
  while (!by_sequence_.empty()) {
    const std::shared_ptr<Generation> generation = by_sequence_.begin()->second.generation;
    generation->Fail(ErrorKind::kUnavailable, "the engine is shutting down: the answer was cut off, send it again");
    Forget(*generation);
  }
  // Who does not read what was written must not keep the engine.
  drain_timer_ = loop_.After(kLastBytes, [this] { EndDrain(); });
}

void Service::EndDrain() {
  if (on_empty_) std::exchange(on_empty_, nullptr)();
}

}  // namespace patella::engine
