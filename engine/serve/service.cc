#include "engine/serve/service.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "engine/serve/text_collector.h"
#include "lib/metrics/metrics.h"
#include "lib/wire/errors.h"
#include "lib/wire/openai.h"
#include "lib/wire/tgi.h"

namespace patella::engine {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr Duration kStuck = std::chrono::seconds(30);  // no forward pass takes so long
constexpr size_t kMostUnreadBytes = 4 << 20;           // a reader this far behind is cut off
constexpr char kRoutes[] =
    "GET /, /info, /health, /ping, /metrics, /v1/models; POST /, /generate, /generate_stream, /tokenize, "
    "/chat_tokenize, "
    "/invocations, /v1/completions, /v1/chat/completions";

const std::unordered_map<std::string_view, Route> kGenerateRoutes = {{"/", Route::kCompat},
                                                                     {"/generate", Route::kGenerate},
                                                                     {"/generate_stream", Route::kGenerateStream},
                                                                     {"/invocations", Route::kInvocations},
                                                                     {"/v1/completions", Route::kCompletions},
                                                                     {"/v1/chat/completions", Route::kChat}};

bool IsGetRoute(std::string_view path) {
  return path == "/" || path == "/info" || path == "/health" || path == "/ping" || path == "/metrics" ||
         path == "/v1/models";
}

bool IsOpenAi(Route route) { return route == Route::kCompletions || route == Route::kChat; }

absl::StatusOr<wire::GenerateCall> Parse(Route route, const std::string& body) {
  if (route == Route::kCompletions) return wire::ParseCompletionCall(body);
  if (route == Route::kChat) return wire::ParseChatCall(body);
  absl::StatusOr<wire::GenerateCall> call = wire::ParseTgiCall(body);
  if (!call.ok()) return call;
  if (route == Route::kGenerate) call->stream = false;
  if (route == Route::kGenerateStream) call->stream = true;
  return call;
}

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string SseEvent(const std::string& data) { return "data: " + data + "\n\n"; }

std::string Ms(double seconds) { return std::to_string(static_cast<int64_t>(seconds * 1e3 + 0.5)); }

}  // namespace

struct Service::Request {
  struct Part {
    uint64_t id = 0;
    TextCollector text;
    wire::Answer answer;
    bool ended = false;
    bool first = true;
  };

  Route route = Route::kGenerate;
  std::string path;
  wire::GenerateCall call;
  std::shared_ptr<http::Exchange> exchange;
  wire::OpenAiHead head;
  std::vector<Part> parts;
  size_t open = 0;  // parts that have not ended
  bool over = false;
  bool streaming_begun = false;
  TimePoint arrived{}, started{}, first_token{};
};

Service::Service(http::Loop& loop, const Tokenizer& tokenizer, ServiceOptions options)
    : loop_(loop), tokenizer_(tokenizer), options_(std::move(options)), metrics_(options_.version) {}
Service::~Service() = default;

void Service::Reply(http::Exchange& exchange, std::string body, const char* type) const {
  exchange.Send({.status = 200, .headers = {{"Content-Type", type}}, .body = std::move(body)});
}

void Service::ReplyError(http::Exchange& exchange, ErrorKind kind, std::string_view message, std::string_view path) {
  exchange.Send(wire::ErrorResponse(kind, message, path));
}

void Service::Handle(http::Request request, std::shared_ptr<http::Exchange> exchange) {
  const std::string path(request.path());
  const bool is_get = request.method == "GET" || request.method == "HEAD";
  const auto generate = kGenerateRoutes.find(path);
  const bool tokenizes = path == "/tokenize" || path == "/chat_tokenize";
  if (is_get && IsGetRoute(path)) return HandleGet(request, *exchange);
  if (request.method == "POST" && generate != kGenerateRoutes.end()) {
    return HandleGenerate(generate->second, request, std::move(exchange));
  }
  if (request.method == "POST" && tokenizes) return HandleTokenize(request, *exchange, path == "/chat_tokenize");
  if (IsGetRoute(path) || generate != kGenerateRoutes.end() || tokenizes) {
    http::Response response =
        wire::ErrorResponse(ErrorKind::kNotFound, request.method + " is not allowed on " + path, path);
    response.status = 405;
    response.headers.Set("Allow", IsGetRoute(path) ? (path == "/" ? "GET, HEAD, POST" : "GET, HEAD") : "POST");
    return exchange->Send(std::move(response));
  }
  ReplyError(*exchange, ErrorKind::kNotFound, "no route " + path + "; there are: " + kRoutes, path);
}

std::string Service::InfoBody() const {
  const Limits limits = engine_->limits().limits;
  const int64_t capacity = engine_->stats().schedule.capacity_tokens;
  const OrderedJson info = {
      {"model_id", options_.model_id},
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
      {"version", options_.version}};
  return info.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

void Service::HandleGet(const http::Request& request, http::Exchange& exchange) {
  const std::string_view path = request.path();
  if (path == "/info" || path == "/") return Reply(exchange, InfoBody());
  if (path == "/metrics") {
    return Reply(exchange, metrics_.Render(engine_->stats(), engine_->limits(), in_flight_),
                 metrics::Metrics::kContentType.data());
  }
  if (path == "/v1/models")
    return Reply(exchange, wire::OpenAiModels(options_.served_name, 0, options_.max_total_tokens));
  if (draining_) return ReplyError(exchange, ErrorKind::kUnavailable, "the engine is shutting down", path);
  if (engine_->StepAge(loop_.Now()) > kStuck)
    return ReplyError(exchange, ErrorKind::kUnavailable, "the engine hangs in a step", path);
  Reply(exchange, "", "text/plain");
}

absl::StatusOr<std::vector<std::vector<int32_t>>> Service::EncodePrompts(const wire::GenerateCall& call) const {
  std::vector<std::vector<int32_t>> prompts;
  if (!call.chat.empty()) {
    std::vector<ChatMessage> messages;
    for (const auto& [role, content] : call.chat) messages.push_back({role, content});
    absl::StatusOr<std::string> text = tokenizer_.ApplyChatTemplate(messages, /*add_generation_prompt=*/true);
    if (!text.ok()) return absl::OutOfRangeError(std::string(text.status().message()));
    prompts.push_back(tokenizer_.Encode(*text, /*add_special=*/false, /*parse_special=*/true));
  }
  for (const wire::Prompt& prompt : call.prompts) {
    if (const auto* text = std::get_if<std::string>(&prompt)) {
      prompts.push_back(tokenizer_.Encode(*text, /*add_special=*/true, /*parse_special=*/true));
      continue;
    }
    prompts.push_back(std::get<std::vector<int32_t>>(prompt));
    for (int32_t id : prompts.back()) {
      if (id >= tokenizer_.vocab_size()) {
        return absl::OutOfRangeError("token id " + std::to_string(id) + " is not below the vocabulary's size, " +
                                     std::to_string(tokenizer_.vocab_size()));
      }
    }
  }
  for (auto& prompt : prompts) {
    if (call.truncate > 0 && static_cast<int>(prompt.size()) > call.truncate)
      prompt.erase(prompt.begin(), prompt.end() - call.truncate);
  }
  return prompts;
}

absl::Status Service::CheckLengths(const std::vector<std::vector<int32_t>>& prompts, wire::GenerateCall* call) const {
  const bool defaulted = call->max_new_tokens == 0;
  if (defaulted) call->max_new_tokens = options_.default_max_new_tokens;
  for (const auto& prompt : prompts) {
    const int length = static_cast<int>(prompt.size());
    if (length == 0) return absl::OutOfRangeError("`inputs` cannot be empty");
    if (length > options_.max_input_tokens) {
      return absl::OutOfRangeError("`inputs` must have less than " + std::to_string(options_.max_input_tokens + 1) +
                                   " tokens. Given: " + std::to_string(length));
    }
    if (defaulted)
      call->max_new_tokens = std::min(call->max_new_tokens, std::max(1, options_.max_total_tokens - length));
    if (length + call->max_new_tokens > options_.max_total_tokens) {
      return absl::OutOfRangeError(
          "`inputs` tokens + `max_new_tokens` must be <= " + std::to_string(options_.max_total_tokens) +
          ". Given: " + std::to_string(length) + " `inputs` tokens and " + std::to_string(call->max_new_tokens) +
          " `max_new_tokens`");
    }
  }
  return absl::OkStatus();
}

void Service::HandleTokenize(const http::Request& request, http::Exchange& exchange, bool chat) {
  absl::StatusOr<wire::GenerateCall> call = chat ? wire::ParseChatCall(request.body) : wire::ParseTgiCall(request.body);
  if (!call.ok())
    return ReplyError(exchange, KindOf(call.status()), std::string(call.status().message()), request.path());
  absl::StatusOr<std::vector<std::vector<int32_t>>> prompts = EncodePrompts(*call);
  if (!prompts.ok())
    return ReplyError(exchange, KindOf(prompts.status()), std::string(prompts.status().message()), request.path());
  std::vector<wire::TokenSpan> tokens;
  size_t at = 0;
  for (int32_t id : prompts->front()) {
    const std::string text = tokenizer_.TokenBytes(id, /*special=*/true);
    tokens.push_back({id, text, at, at + text.size()});
    at += text.size();
  }
  const std::string list = wire::TgiTokens(tokens);
  if (!chat) return Reply(exchange, list);
  OrderedJson body = {{"tokenize_response", OrderedJson::parse(list)},
                      {"templated_text", tokenizer_.Decode(prompts->front(), false)}};
  Reply(exchange, body.dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
}

void Service::Release(int permits) {
  in_flight_ -= permits;
  if (in_flight_ == 0 && on_empty_) std::exchange(on_empty_, nullptr)();
}

void Service::HandleGenerate(Route route, const http::Request& http, std::shared_ptr<http::Exchange> exchange) {
  const TimePoint arrived = loop_.Now();
  metrics_.CountRequest();
  const auto refuse = [&](ErrorKind kind, std::string_view message) {
    metrics_.CountFailure(InfoOf(kind).metric_label);
    ReplyError(*exchange, kind, message, http.path());
  };
  if (draining_) return refuse(ErrorKind::kUnavailable, "the engine is shutting down");
  const int limit = engine_->limits().limits.max_concurrent_requests;
  if (in_flight_ >= limit) return refuse(ErrorKind::kOverloaded, "Model is overloaded");
  absl::StatusOr<wire::GenerateCall> call = Parse(route, http.body);
  if (!call.ok()) return refuse(KindOf(call.status()), std::string(call.status().message()));
  absl::StatusOr<std::vector<std::vector<int32_t>>> prompts = EncodePrompts(*call);
  absl::Status status = prompts.ok() ? CheckLengths(*prompts, &*call) : prompts.status();
  if (!status.ok()) return refuse(KindOf(status), std::string(status.message()));
  const int permits = static_cast<int>(prompts->size());
  if (permits > limit) {
    return refuse(ErrorKind::kValidation,
                  std::to_string(permits) + " prompts exceed MAX_CONCURRENT_REQUESTS, " + std::to_string(limit));
  }
  if (in_flight_ + permits > limit) return refuse(ErrorKind::kOverloaded, "Model is overloaded");

  auto request = std::make_shared<Request>();
  request->route = route;
  request->path = http.path();
  request->call = *std::move(call);
  request->exchange = std::move(exchange);
  request->arrived = arrived;
  in_flight_ += permits;
  Launch(std::move(request), *std::move(prompts));
}

void Service::Launch(RequestPtr request, std::vector<std::vector<int32_t>> prompts) {
  const wire::GenerateCall& call = request->call;
  const bool openai = IsOpenAi(request->route);
  const bool chat = request->route == Route::kChat;
  request->head = {(chat ? "chatcmpl-" : "cmpl-") + std::to_string(next_id_), options_.served_name, UnixSeconds(),
                   chat};
  request->open = prompts.size();
  std::vector<Job> jobs;
  for (std::vector<int32_t>& prompt : prompts) {
    const uint64_t id = next_id_++;
    Job job{.id = id, .max_new_tokens = call.max_new_tokens, .sampling = call.sampling, .ignore_eos = call.ignore_eos};
    job.seed = call.sampling.seed ? *call.sampling.seed : std::random_device{}();
    job.wants_logprob = !openai;
    Request::Part part{.id = id, .text = TextCollector(tokenizer_, call.stop, /*keeps_stop=*/!openai)};
    part.answer.prompt_tokens = static_cast<int>(prompt.size());
    if (call.sampling.temperature > 0) part.answer.seed = job.seed;
    job.prompt = std::move(prompt);
    jobs.push_back(std::move(job));
    by_sequence_[id] = {request, request->parts.size()};
    request->parts.push_back(std::move(part));
  }
  // The exchange must not own what owns it: callbacks hold the request weakly, by_sequence_ and OnDone's copy keep it.
  request->exchange->OnClose([this, weak = std::weak_ptr(request)] {
    const RequestPtr left = weak.lock();
    if (left == nullptr || left->over) return;
    metrics_.CountFailure("dropped");
    CancelRest(*left);
  });
  const int permits = static_cast<int>(jobs.size());
  request->exchange->OnDone([this, permits] { Release(permits); });
  if (request->over) return;  // the client had left already
  if (call.stream) {
    http::Headers headers = {
        {"Content-Type", "text/event-stream"}, {"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
    headers.Set("x-compute-type", options_.backend);
    request->exchange->StartStream(200, std::move(headers));
  }
  for (Job& job : jobs) engine_->Submit(std::move(job));
}

void Service::OnEvents(std::vector<Event> events) {
  for (const Event& event : events) OnEvent(event);
}

void Service::OnEvent(const Event& event) {
  const auto at = by_sequence_.find(event.id);
  if (at == by_sequence_.end()) return;  // finished or given up in the meantime
  const auto [request, index] = at->second;
  if (event.kind == EventKind::kFailed || event.kind == EventKind::kCancelled) {
    return FailRequest(*request, event.error.empty() ? "the request was cancelled" : event.error);
  }
  if (request->started == TimePoint{}) request->started = event.started;
  if (request->first_token == TimePoint{}) request->first_token = loop_.Now();
  OnToken(*request, index, event);
  if (!request->over && request->exchange->pending_bytes() > kMostUnreadBytes) {
    metrics_.CountFailure("dropped");
    CancelRest(*request);
    request->exchange->Abort();
  }
}

void Service::OnToken(Request& request, size_t index, const Event& event) {
  Request::Part& part = request.parts[index];
  const bool last = event.kind != EventKind::kToken;
  TextCollector::Piece piece = part.text.Push(event.token, event.logprob, last);
  ++part.answer.generated_tokens;
  if (last)
    part.answer.finish =
        event.kind == EventKind::kEndToken ? wire::FinishReason::kEndToken : wire::FinishReason::kLength;
  if (piece.stopped) {
    part.answer.finish = wire::FinishReason::kStopSequence;
    if (!last) engine_->Cancel(part.id);
  }
  const bool ended = last || piece.stopped;
  if (ended) {
    part.ended = true;
    part.answer.text = part.text.text();
    if (request.call.return_full_text && !request.call.prompts.empty()) {
      if (const auto* prompt = std::get_if<std::string>(&request.call.prompts.front()))
        part.answer.text = *prompt + part.answer.text;
    }
    by_sequence_.erase(part.id);
    --request.open;
  }
  if (request.call.stream) {
    WriteToken(request, index, piece.token, piece.delta, ended);
  } else if (request.call.details) {
    part.answer.tokens.push_back(std::move(piece.token));
  }
  if (request.open == 0) FinishRequest(request);
}

void Service::WriteToken(Request& request, size_t index, const wire::TokenText& token, const std::string& delta,
                         bool ended) {
  Request::Part& part = request.parts[index];
  if (!IsOpenAi(request.route)) {
    const std::string event = wire::TgiEvent(part.answer.generated_tokens, token, ended ? &part.answer : nullptr, true);
    return request.exchange->Write(SseEvent(event));
  }
  std::string out;
  const int choice = static_cast<int>(index);
  if (!delta.empty() || part.first) {
    out += SseEvent(
        wire::OpenAiChunk(request.head, choice, delta, std::exchange(part.first, false), wire::FinishReason::kNone));
  }
  if (ended) out += SseEvent(wire::OpenAiChunk(request.head, choice, "", false, part.answer.finish));
  if (!out.empty()) request.exchange->Write(std::move(out));
}

void Service::FinishRequest(Request& request) {
  request.over = true;
  const TimePoint now = loop_.Now();
  RequestTimes times{.total_s = Seconds(now - request.arrived),
                     .queue_s = Seconds(request.started - request.arrived),
                     .first_token_s = Seconds(request.first_token - request.arrived),
                     .inference_s = Seconds(now - request.started),
                     .max_new_tokens = request.call.max_new_tokens};
  std::vector<wire::Answer> answers;
  for (Request::Part& part : request.parts) {
    times.input_tokens += part.answer.prompt_tokens;
    times.generated_tokens += part.answer.generated_tokens;
    answers.push_back(std::move(part.answer));
  }
  metrics_.CountSuccess(times);
  const bool openai = IsOpenAi(request.route);
  if (request.call.stream) {
    std::string out;
    if (openai && request.call.include_usage) {
      out += SseEvent(wire::OpenAiUsageChunk(request.head, times.input_tokens, times.generated_tokens));
    }
    if (openai) out += SseEvent("[DONE]");
    if (!out.empty()) request.exchange->Write(std::move(out));
    return request.exchange->Finish();
  }
  http::Response response;
  response.headers = {{"Content-Type", "application/json"},
                      {"x-compute-type", options_.backend},
                      {"x-compute-characters", std::to_string(answers.front().text.size())},
                      {"x-total-time", Ms(times.total_s)},
                      {"x-queue-time", Ms(times.queue_s)},
                      {"x-inference-time", Ms(times.inference_s)},
                      {"x-time-per-token", Ms(times.inference_s / std::max(1, times.generated_tokens))},
                      {"x-prompt-tokens", std::to_string(times.input_tokens)},
                      {"x-generated-tokens", std::to_string(times.generated_tokens)}};
  const bool as_array = request.route == Route::kCompat || request.route == Route::kInvocations;
  response.body = openai ? wire::OpenAiAnswer(request.head, answers)
                         : wire::TgiAnswer(answers.front(), request.call.details, as_array);
  request.exchange->Send(std::move(response));
}

void Service::CancelRest(Request& request) {
  request.over = true;
  for (const Request::Part& part : request.parts) {
    if (by_sequence_.contains(part.id) && !part.ended) engine_->Cancel(part.id);
  }
  // Last: these entries are what keeps the request alive.
  std::vector<uint64_t> ids;
  for (const Request::Part& part : request.parts) ids.push_back(part.id);
  for (uint64_t id : ids) by_sequence_.erase(id);
}

void Service::FailRequest(Request& request, const std::string& message) {
  const std::shared_ptr<http::Exchange> exchange = request.exchange;
  const std::string path = request.path;
  const bool stream = request.call.stream;
  metrics_.CountFailure(InfoOf(ErrorKind::kGeneration).metric_label);
  CancelRest(request);
  if (!stream) return ReplyError(*exchange, ErrorKind::kGeneration, message, path);
  exchange->Write(SseEvent(wire::ErrorBody(ErrorKind::kGeneration, message, path)));
  exchange->Finish();
}

void Service::Drain(std::function<void()> on_empty) {
  draining_ = true;
  on_empty_ = std::move(on_empty);
  if (in_flight_ == 0 && on_empty_) std::exchange(on_empty_, nullptr)();
}

}  // namespace patella::engine
