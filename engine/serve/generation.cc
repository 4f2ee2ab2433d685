#include "engine/serve/generation.h"

#include <algorithm>
#include <random>
#include <utility>

#include "lib/wire/errors.h"
#include "lib/wire/tgi.h"

namespace patella::engine {
namespace {

constexpr size_t kMostUnreadBytes = 4 << 20;  // a reader this far behind is cut off

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string SseEvent(const std::string& data) { return "data: " + data + "\n\n"; }

std::string Ms(double seconds) { return std::to_string(static_cast<int64_t>(seconds * 1e3 + 0.5)); }

}  // namespace

Generation::Generation(const ServiceOptions& options, const Tokenizer& tokenizer, EngineLoop& engine,
                       EngineMetrics& metrics, Call call, std::shared_ptr<http::Exchange> exchange)
    : options_(options),
      tokenizer_(tokenizer),
      engine_(engine),
      metrics_(metrics),
      call_(std::move(call)),
      exchange_(std::move(exchange)),
      last_write_(call_.arrived) {}

std::vector<Job> Generation::MakeJobs(std::vector<std::vector<int32_t>> prompts, uint64_t first_id) {
  const wire::GenerateCall& body = call_.body;
  const bool openai = IsOpenAi(call_.route);
  const bool chat = call_.route == Route::kChat;
  head_ = {(chat ? "chatcmpl-" : "cmpl-") + std::to_string(first_id), options_.served_name, UnixSeconds(), chat,
           body.logprobs};
  open_ = prompts.size();
  std::vector<Job> jobs;
  for (std::vector<int32_t>& prompt : prompts) {
    Job job{.id = first_id++,
            .max_new_tokens = body.max_new_tokens,
            .sampling = body.sampling,
            .ignore_eos = body.ignore_eos,
            .logprobs = {.chosen = openai ? body.logprobs : body.stream || body.details,
                         .top = body.top_tokens,
                         .of_model = openai,
                         .prompt = body.prompt_logprobs}};
    job.seed = body.sampling.seed ? *body.sampling.seed : std::random_device{}();
    Part part{.text = TextCollector(tokenizer_, body.stop, /*keeps_stop=*/!openai, /*settles=*/body.logprobs)};
    part.answer.prompt_tokens = static_cast<int>(prompt.size());
    if (body.sampling.temperature > 0) part.answer.seed = job.seed;
    if (body.prompt_logprobs) part.answer.prompt = TextsOf(prompt);
    job.prompt = std::move(prompt);
    ids_.push_back(job.id);
    parts_.push_back(std::move(part));
    jobs.push_back(std::move(job));
  }
  return jobs;
}

std::vector<wire::TokenText> Generation::TextsOf(std::span<const int32_t> tokens) const {
  std::vector<wire::TokenText> texts;
  for (int32_t id : tokens) texts.push_back({.id = id, .text = tokenizer_.TokenBytes(id, /*special=*/true)});
  return texts;
}

void Generation::Begin() {
  if (!call_.body.stream) return;
  exchange_->StartStream(200, {{"Content-Type", "text/event-stream"},
                               {"Cache-Control", "no-cache"},
                               {"X-Accel-Buffering", "no"},
                               {"x-compute-type", options_.backend}});
}

void Generation::OnEvent(size_t index, const Event& event, TimePoint now) {
  if (over_ || parts_[index].ended) return;
  if (event.kind == EventKind::kFailed || event.kind == EventKind::kCancelled) {
    return Fail(ErrorKind::kGeneration, event.error.empty() ? "the request was cancelled" : event.error);
  }
  if (started_ == TimePoint{}) started_ = event.started;
  if (first_token_ == TimePoint{}) first_token_ = now;
  last_write_ = now;
  OnToken(index, event);
  if (open_ == 0) return Finish(now);
  if (exchange_->pending_bytes() > kMostUnreadBytes) {
    Drop();
    exchange_->Abort();
  }
}

void Generation::OnToken(size_t index, const Event& event) {
  Part& part = parts_[index];
  const bool last = event.kind != EventKind::kToken;
  wire::TokenText token{.id = event.token, .logprob = event.logprob};
  for (const TokenLogprob& top : event.top) token.top.push_back({.id = top.token, .logprob = top.logprob});
  TextCollector::Piece piece = part.text.Push(std::move(token), last);
  ++part.answer.generated_tokens;
  for (size_t i = 0; i < event.prompt_logprobs.size(); ++i) part.answer.prompt[i].logprob = event.prompt_logprobs[i];
  if (last) {
    part.answer.finish =
        event.kind == EventKind::kEndToken ? wire::FinishReason::kEndToken : wire::FinishReason::kLength;
  }
  if (piece.stopped) {
    part.answer.finish = wire::FinishReason::kStopSequence;
    if (!last) engine_.Cancel(ids_[index]);
  }
  if (last || piece.stopped) {
    part.ended = true;
    --open_;
    part.answer.text = part.text.text();
    if (call_.body.return_full_text && !call_.body.prompts.empty()) {
      if (const auto* prompt = std::get_if<std::string>(&call_.body.prompts.front()))
        part.answer.text = *prompt + part.answer.text;
    }
  }
  if (call_.body.stream) {
    WriteToken(index, piece);
  } else if (call_.body.details) {
    part.answer.tokens.push_back(std::move(piece.token));
  } else {
    std::move(piece.settled.begin(), piece.settled.end(), std::back_inserter(part.answer.tokens));
  }
}

void Generation::WriteToken(size_t index, const TextCollector::Piece& piece) {
  Part& part = parts_[index];
  if (!IsOpenAi(call_.route)) {
    const wire::Answer* last = part.ended ? &part.answer : nullptr;
    return exchange_->Write(SseEvent(wire::TgiEvent(part.answer.generated_tokens, piece.token, last, true)));
  }
  std::string out;
  const int choice = static_cast<int>(index);
  if (std::exchange(part.first, false) && head_.chat)
    out += SseEvent(wire::OpenAiChunk(head_, choice, "", {}, /*first=*/true, wire::FinishReason::kNone));
  // One chunk a token, even if it completes no character yet: who measures counts chunks.
  if (!part.ended || !piece.delta.empty())
    out += SseEvent(wire::OpenAiChunk(head_, choice, piece.delta, piece.settled, false, wire::FinishReason::kNone));
  if (part.ended) out += SseEvent(wire::OpenAiChunk(head_, choice, "", {}, false, part.answer.finish));
  if (!out.empty()) exchange_->Write(std::move(out));
}

void Generation::Finish(TimePoint now) {
  over_ = true;
  RequestTimes times{.total_s = Seconds(now - call_.arrived),
                     .queue_s = Seconds(started_ - call_.arrived),
                     .first_token_s = Seconds(first_token_ - call_.arrived),
                     .inference_s = Seconds(now - started_)};
  std::vector<wire::Answer> answers;
  for (Part& part : parts_) {
    times.input_tokens += part.answer.prompt_tokens;
    times.generated_tokens += part.answer.generated_tokens;
    answers.push_back(std::move(part.answer));
  }
  metrics_.CountSuccess(times);
  call_.body.stream ? FinishStream(times) : SendAnswer(times, answers);
}

void Generation::FinishStream(const RequestTimes& times) {
  if (IsOpenAi(call_.route)) {
    std::string out;
    if (call_.body.include_usage)
      out += SseEvent(wire::OpenAiUsageChunk(head_, times.input_tokens, times.generated_tokens));
    exchange_->Write(out + SseEvent("[DONE]"));
  }
  exchange_->Finish();
}

void Generation::SendAnswer(const RequestTimes& times, const std::vector<wire::Answer>& answers) {
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
  const bool as_array = call_.route == Route::kCompat || call_.route == Route::kInvocations;
  response.body = IsOpenAi(call_.route) ? wire::OpenAiAnswer(head_, answers)
                                        : wire::TgiAnswer(answers.front(), call_.body.details, as_array);
  exchange_->Send(std::move(response));
}

void Generation::CancelRest() {
  over_ = true;
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (!std::exchange(parts_[i].ended, true)) engine_.Cancel(ids_[i]);
  }
}

void Generation::Fail(ErrorKind kind, std::string_view message) {
  if (over_) return;
  metrics_.CountFailure(InfoOf(kind).metric_label);
  CancelRest();
  if (!call_.body.stream) return exchange_->Send(wire::ErrorResponse(kind, message, call_.path));
  exchange_->Write(SseEvent(wire::ErrorBody(kind, message, call_.path)));
  exchange_->Finish();
}

void Generation::KeepAlive(TimePoint now) {
  if (!call_.body.stream || over_ || now - last_write_ < options_.keep_alive) return;
  last_write_ = now;
  exchange_->Write(":\n\n");
}

void Generation::Drop() {
  if (over_) return;
  metrics_.CountFailure("dropped");
  CancelRest();
}

}  // namespace patella::engine
