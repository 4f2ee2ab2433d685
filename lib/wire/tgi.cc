#include "lib/wire/tgi.h"

#include "lib/wire/json_read.h"
#include "lib/wire/json_write.h"

namespace patella::wire {
namespace {

constexpr int kMostTopTokens = 5;  // TGI's

const char* FinishName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEndToken:
      return "eos_token";
    case FinishReason::kStopSequence:
      return "stop_sequence";
    default:
      return "length";
  }
}

OrderedJson TokenJson(const TokenText& token) {
  return {{"id", token.id}, {"text", token.text}, {"logprob", Number(token.logprob)}, {"special", token.special}};
}

OrderedJson TopJson(const TokenText& token) {
  OrderedJson list = OrderedJson::array();
  for (const TokenText& top : token.top) list.push_back(TokenJson(top));
  return list;
}

OrderedJson Details(const Answer& answer) {
  OrderedJson details = {{"finish_reason", FinishName(answer.finish)}, {"generated_tokens", answer.generated_tokens}};
  details["seed"] = answer.seed ? OrderedJson(*answer.seed) : OrderedJson(nullptr);
  return details;
}

void ReadParameters(const Json& parameters, GenerateCall* call, absl::Status* status) {
  Reader r(parameters);
  bool do_sample = false;
  r.Int("max_new_tokens", &call->max_new_tokens, 1);
  r.Int("truncate", &call->truncate, 1);
  r.Int("top_k", &call->sampling.top_k, 1);
  r.Bool("do_sample", &do_sample);
  r.Float("temperature", &call->sampling.temperature, 0, 100);
  r.Float("top_p", &call->sampling.top_p, 0, 1);
  r.Float("repetition_penalty", &call->sampling.repetition_penalty, 0, 100);
  r.Seed(&call->sampling.seed);
  r.Strings("stop", &call->stop, 16);
  r.Bool("details", &call->details);
  r.Bool("return_full_text", &call->return_full_text);
  r.Bool("ignore_eos", &call->ignore_eos);
  r.Bool("decoder_input_details", &call->prompt_logprobs);
  if (call->prompt_logprobs) call->details = true;
  r.Int("top_n_tokens", &call->top_tokens, 0);
  if (call->top_tokens > kMostTopTokens) {
    r.Fail("`top_n_tokens` must be >= 0 and <= " + std::to_string(kMostTopTokens) +
           ". Given: " + std::to_string(call->top_tokens));
  }
  r.Refuse("best_of", {1, 0}, "one answer a request");
  r.Refuse("grammar", {}, "no constrained decoding");
  r.Refuse("watermark", {false}, "no watermarking");
  r.Refuse("frequency_penalty", {0, 0.0}, "use repetition_penalty");
  r.Refuse("typical_p", {1, 1.0}, "use top_p");
  if (r.Find("temperature") != nullptr && call->sampling.temperature <= 0)
    r.Fail("`temperature` must be strictly positive");
  if (r.Find("repetition_penalty") != nullptr && call->sampling.repetition_penalty <= 0) {
    r.Fail("`repetition_penalty` must be strictly positive");
  }
  // As TGI: any of these asks for sampling.
  const bool samples = do_sample || r.Find("temperature") || r.Find("top_k") || r.Find("top_p");
  if (!samples) call->sampling.temperature = 0;
  if (samples && r.Find("temperature") == nullptr) call->sampling.temperature = 1;
  *status = r.status();
}

}  // namespace

absl::StatusOr<GenerateCall> ParseTgiCall(std::string_view body) {
  absl::StatusOr<Json> object = ParseObject(body);
  if (!object.ok()) return object.status();
  GenerateCall call;
  Reader r(*object);
  const Json* inputs = r.Find("inputs");
  if (inputs == nullptr) {
    r.Fail("missing field `inputs`");
  } else if (!inputs->is_string()) {
    r.Expect("inputs", "a string");
  } else {
    call.prompts.emplace_back(inputs->get<std::string>());
  }
  r.Bool("stream", &call.stream);
  if (!r.status().ok()) return r.status();
  if (const Json* parameters = r.Find("parameters")) {
    if (!parameters->is_object()) return absl::OutOfRangeError("`parameters` must be an object");
    absl::Status status;
    ReadParameters(*parameters, &call, &status);
    if (!status.ok()) return status;
  }
  return call;
}

std::string TgiAnswer(const Answer& answer, bool details, bool as_array) {
  OrderedJson body = {{"generated_text", answer.text}};
  if (details) {
    OrderedJson d = Details(answer);
    d["prefill"] = OrderedJson::array();
    for (const TokenText& token : answer.prompt)
      d["prefill"].push_back({{"id", token.id}, {"text", token.text}, {"logprob", Number(token.logprob)}});
    d["tokens"] = OrderedJson::array();
    OrderedJson top = OrderedJson::array();
    for (const TokenText& token : answer.tokens) {
      d["tokens"].push_back(TokenJson(token));
      if (!token.top.empty()) top.push_back(TopJson(token));
    }
    if (!top.empty()) d["top_tokens"] = std::move(top);
    body["details"] = std::move(d);
  }
  if (!as_array) return Dump(body);
  OrderedJson array = OrderedJson::array();
  array.push_back(std::move(body));
  return Dump(array);
}

std::string TgiEvent(int index, const TokenText& token, const Answer* last, bool details) {
  OrderedJson event = {
      {"index", index}, {"token", TokenJson(token)}, {"generated_text", nullptr}, {"details", nullptr}};
  if (!token.top.empty()) event["top_tokens"] = TopJson(token);
  if (last != nullptr) {
    event["generated_text"] = last->text;
    if (details) {
      event["details"] = Details(*last);
      event["details"]["input_length"] = last->prompt_tokens;
    }
  }
  return Dump(event);
}

std::string TgiTokens(const std::vector<TokenSpan>& tokens) {
  OrderedJson list = OrderedJson::array();
  for (const TokenSpan& t : tokens)
    list.push_back({{"id", t.id}, {"text", t.text}, {"start", t.start}, {"stop", t.stop}});
  return Dump(list);
}

}  // namespace patella::wire
