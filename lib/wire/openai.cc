#include "lib/wire/openai.h"

#include "lib/wire/json_read.h"
#include "lib/wire/json_write.h"
#include "lib/wire/openai_logprobs.h"

namespace patella::wire {
namespace {

constexpr int kMostCompletionLogprobs = 5, kMostChatLogprobs = 20;  // OpenAI's

const char* FinishName(FinishReason reason) { return reason == FinishReason::kLength ? "length" : "stop"; }

void ReadCommon(Reader& r, GenerateCall* call) {
  call->sampling.temperature = 1;
  r.Int("max_tokens", &call->max_new_tokens, 1);
  r.Int("max_completion_tokens", &call->max_new_tokens, 1);
  r.Float("temperature", &call->sampling.temperature, 0, 2);
  r.Float("top_p", &call->sampling.top_p, 0, 1);
  r.Int("top_k", &call->sampling.top_k, -1);
  if (call->sampling.top_k < 0) call->sampling.top_k = 0;
  r.Float("repetition_penalty", &call->sampling.repetition_penalty, 0.01f, 100);
  r.Seed(&call->sampling.seed);
  r.Strings("stop", &call->stop, 16);
  r.Bool("ignore_eos", &call->ignore_eos);
  r.Bool("stream", &call->stream);
  if (const Json* options = r.Find("stream_options")) {
    if (!options->is_object()) return r.Expect("stream_options", "an object");
    Reader inner(*options);
    inner.Bool("include_usage", &call->include_usage);
    if (!inner.status().ok()) r.Fail(std::string(inner.status().message()));
  }
  r.Refuse("n", {1}, "one answer a prompt");
  r.Refuse("best_of", {1}, "one answer a prompt");
  r.Refuse("frequency_penalty", {0, 0.0}, "use repetition_penalty");
  r.Refuse("presence_penalty", {0, 0.0}, "use repetition_penalty");
  r.Refuse("logit_bias", {Json::object()}, "no token bias");
}

void ReadTokenIds(const Json& list, Reader& r, GenerateCall* call) {
  std::vector<int32_t> ids;
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<double>() < 0 || id.get<double>() > 1e9)
      return r.Expect("prompt", "an array of token ids");
    ids.push_back(id.get<int32_t>());
  }
  call->prompts.emplace_back(std::move(ids));
}

void ReadPrompt(Reader& r, GenerateCall* call) {
  const Json* prompt = r.Find("prompt");
  if (prompt == nullptr) return r.Fail("missing field `prompt`");
  if (prompt->is_string()) {
    call->prompts.emplace_back(prompt->get<std::string>());
    return;
  }
  if (!prompt->is_array() || prompt->empty())
    return r.Expect("prompt", "a string, an array of strings or an array of token ids");
  if (prompt->front().is_number()) return ReadTokenIds(*prompt, r, call);
  for (const Json& one : *prompt) {
    if (one.is_string()) {
      call->prompts.emplace_back(one.get<std::string>());
    } else if (one.is_array()) {
      ReadTokenIds(one, r, call);
    } else {
      return r.Expect("prompt", "a string, an array of strings or an array of token ids");
    }
  }
}

void ReadMessage(const Json& message, Reader& r, GenerateCall* call) {
  if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
    return r.Fail("each of `messages` must be an object with `role` and `content`");
  }
  std::string text;
  const Json content = message.value("content", Json());
  if (content.is_string()) {
    text = content.get<std::string>();
  } else if (content.is_array()) {
    for (const Json& part : content) {
      if (!part.is_object() || part.value("type", Json()) != "text" || !part.value("text", Json()).is_string()) {
        return r.Fail("`content` parts must be {\"type\": \"text\", \"text\": …}: this model reads text only");
      }
      text += part["text"].get<std::string>();
    }
  } else if (!content.is_null()) {
    return r.Fail("`content` must be a string or an array of parts");
  }
  call->chat.emplace_back(message["role"].get<std::string>(), std::move(text));
}

OrderedJson Usage(int prompt_tokens, int completion_tokens) {
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", completion_tokens},
          {"total_tokens", prompt_tokens + completion_tokens}};
}

OrderedJson Head(const OpenAiHead& head, const char* chat_object) {
  return {{"id", head.id},
          {"object", head.chat ? chat_object : "text_completion"},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", "patella"}};
}

}  // namespace

absl::StatusOr<GenerateCall> ParseCompletionCall(std::string_view body) {
  absl::StatusOr<Json> object = ParseObject(body);
  if (!object.ok()) return object.status();
  GenerateCall call;
  Reader r(*object);
  ReadPrompt(r, &call);
  ReadCommon(r, &call);
  if (const Json* logprobs = r.Find("logprobs"); logprobs != nullptr && *logprobs != Json(false)) {
    r.Int("logprobs", &call.top_tokens, 0, kMostCompletionLogprobs);
    call.logprobs = true;
  }
  r.Refuse("echo", {false}, "send the prompt's text yourself");
  r.Refuse("suffix", {""}, "no fill-in-the-middle");
  if (!r.status().ok()) return r.status();
  return call;
}

absl::StatusOr<GenerateCall> ParseChatCall(std::string_view body) {
  absl::StatusOr<Json> object = ParseObject(body);
  if (!object.ok()) return object.status();
  GenerateCall call;
  Reader r(*object);
  ReadCommon(r, &call);
  const Json* messages = r.Find("messages");
  if (messages == nullptr) {
    r.Fail("missing field `messages`");
  } else if (!messages->is_array() || messages->empty()) {
    r.Expect("messages", "an array of at least one message");
  } else {
    for (const Json& message : *messages) ReadMessage(message, r, &call);
  }
  r.Bool("logprobs", &call.logprobs);
  r.Int("top_logprobs", &call.top_tokens, 0, kMostChatLogprobs);
  if (call.top_tokens > 0 && !call.logprobs) r.Fail("`top_logprobs` needs `logprobs` to be true");
  r.Refuse("tools", {Json::array()}, "no tool calls yet");
  if (const Json* format = r.Find("response_format"); format != nullptr && *format != Json({{"type", "text"}})) {
    r.Fail("`response_format` is not supported: only {\"type\": \"text\"}");
  }
  if (!r.status().ok()) return r.status();
  return call;
}

std::string OpenAiAnswer(const OpenAiHead& head, const std::vector<Answer>& answers) {
  OrderedJson body = Head(head, "chat.completion");
  body["choices"] = OrderedJson::array();
  int prompt_tokens = 0;
  int completion_tokens = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    OrderedJson choice = {{"index", i}};
    if (head.chat) {
      choice["message"] = {{"role", "assistant"}, {"content", answers[i].text}};
    } else {
      choice["text"] = answers[i].text;
    }
    choice["logprobs"] = Logprobs(head, answers[i].tokens);
    choice["finish_reason"] = FinishName(answers[i].finish);
    body["choices"].push_back(std::move(choice));
    prompt_tokens += answers[i].prompt_tokens;
    completion_tokens += answers[i].generated_tokens;
  }
  body["usage"] = Usage(prompt_tokens, completion_tokens);
  return Dump(body);
}

std::string OpenAiChunk(const OpenAiHead& head, int index, std::string_view text, std::span<const TokenText> tokens,
                        bool first, FinishReason finish) {
  OrderedJson body = Head(head, "chat.completion.chunk");
  OrderedJson choice = {{"index", index}};
  if (head.chat) {
    OrderedJson delta = OrderedJson::object();
    if (first) delta["role"] = "assistant";
    if (finish == FinishReason::kNone) delta["content"] = text;  // clients add it up: a string, even if empty
    choice["delta"] = std::move(delta);
  } else {
    choice["text"] = text;
  }
  choice["logprobs"] = tokens.empty() ? OrderedJson(nullptr) : Logprobs(head, tokens);
  choice["finish_reason"] = finish == FinishReason::kNone ? OrderedJson(nullptr) : OrderedJson(FinishName(finish));
  body["choices"] = OrderedJson::array();
  body["choices"].push_back(std::move(choice));
  return Dump(body);
}

std::string OpenAiUsageChunk(const OpenAiHead& head, int prompt_tokens, int completion_tokens) {
  OrderedJson body = Head(head, "chat.completion.chunk");
  body["choices"] = OrderedJson::array();
  body["usage"] = Usage(prompt_tokens, completion_tokens);
  return Dump(body);
}

std::string OpenAiModels(std::string_view model, int64_t created, int max_total_tokens) {
  OrderedJson entry = {{"id", model},
                       {"object", "model"},
                       {"created", created},
                       {"owned_by", "patella"},
                       {"max_model_len", max_total_tokens}};
  OrderedJson body = {{"object", "list"}, {"data", OrderedJson::array()}};
  body["data"].push_back(std::move(entry));
  return Dump(body);
}

}  // namespace patella::wire
