#include "lib/wire/openai_logprobs.h"

#include <cstdio>
#include <string>

namespace patella::wire {
namespace {

// Dump replaces what is not.
bool IsUtf8(const std::string& bytes) { return OrderedJson::parse(Dump(OrderedJson(bytes))) == bytes; }

std::string NameOf(const TokenText& token) {
  if (IsUtf8(token.bytes)) return token.bytes;
  std::string name = "bytes:";
  for (const char c : token.bytes) {
    char hex[5];
    std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(c));
    name += hex;
  }
  return name;
}

OrderedJson ChatToken(const TokenText& token) {
  OrderedJson bytes = OrderedJson::array();
  for (const char c : token.bytes) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", NameOf(token)}, {"logprob", Number(token.logprob)}, {"bytes", std::move(bytes)}};
}

OrderedJson ChatLogprobs(std::span<const TokenText> tokens) {
  OrderedJson content = OrderedJson::array();
  for (const TokenText& token : tokens) {
    OrderedJson entry = ChatToken(token);
    entry["top_logprobs"] = OrderedJson::array();
    for (const TokenText& top : token.top) entry["top_logprobs"].push_back(ChatToken(top));
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

OrderedJson CompletionLogprobs(std::span<const TokenText> tokens) {
  OrderedJson names = OrderedJson::array(), logprobs = OrderedJson::array(), tops = OrderedJson::array(),
              offsets = OrderedJson::array();
  for (const TokenText& token : tokens) {
    names.push_back(NameOf(token));
    logprobs.push_back(Number(token.logprob));
    offsets.push_back(token.start);
    OrderedJson top = OrderedJson::object();  // the chosen one too, also where it is not among the likeliest
    for (const TokenText& t : token.top) top.emplace(NameOf(t), Number(t.logprob));
    top.emplace(NameOf(token), Number(token.logprob));
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(names)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

}  // namespace

OrderedJson Logprobs(const OpenAiHead& head, std::span<const TokenText> tokens) {
  if (!head.logprobs) return nullptr;
  return head.chat ? ChatLogprobs(tokens) : CompletionLogprobs(tokens);
}

}  // namespace patella::wire
