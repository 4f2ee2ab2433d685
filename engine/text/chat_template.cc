#include "engine/text/chat_template.h"

#include "lib/base/text.h"

namespace patella::engine {
namespace {

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// The system prompt that a ChatML template writes itself when the first message is not a system message: the one literal
// '<|im_start|>system\n…<|im_end|>'. Empty if the template has none.
std::string_view ChatMlDefaultSystem(std::string_view source) {
  constexpr std::string_view kStart = "<|im_start|>system";
  for (size_t at = source.find(kStart); at != std::string_view::npos; at = source.find(kStart, at + 1)) {
    std::string_view rest = source.substr(at + kStart.size());
    if (rest.starts_with("\\n")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with("\n")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    const std::string_view text = rest.substr(0, rest.find("<|im_end|>"));
    if (text.size() < rest.size() && !text.empty() && !Contains(text, "'") && !Contains(text, "{")) return text;
  }
  return {};
}

std::string ChatMl(std::string_view source, const std::vector<ChatMessage>& messages, bool generate) {
  std::string out;
  const std::string_view system = ChatMlDefaultSystem(source);
  if (!system.empty() && !messages.empty() && messages[0].role != "system") {
    StrAppend(&out, "<|im_start|>system\n", system, "<|im_end|>\n");
  }
  for (const ChatMessage& message : messages) {
    StrAppend(&out, "<|im_start|>", message.role, "\n", message.content, "<|im_end|>\n");
  }
  if (generate) out += "<|im_start|>assistant\n";
  return out;
}

std::string Llama3(std::string_view source, const std::vector<ChatMessage>& messages, bool generate) {
  std::string out;
  size_t first = 0;
  const auto header = [&](std::string_view role) {
    StrAppend(&out, "<|start_header_id|>", role, "<|end_header_id|>\n\n");
  };
  if (Contains(source,
               "Cutting Knowledge Date")) {  // Llama 3.1 and later always write a system message, with this date
    header("system");
    out += "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
    if (!messages.empty() && messages[0].role == "system") out += Strip(messages[first++].content);
    out += "<|eot_id|>";
  }
  for (; first < messages.size(); ++first) {
    header(messages[first].role);
    StrAppend(&out, Strip(messages[first].content), "<|eot_id|>");
  }
  if (generate) header("assistant");
  return out;
}

// [INST] templates know user and assistant in turn, after at most one system message at the start.
absl::Status CheckTurns(const std::vector<ChatMessage>& messages) {
  const size_t first = !messages.empty() && messages[0].role == "system" ? 1 : 0;
  for (size_t i = first; i < messages.size(); ++i) {
    const std::string_view expected = (i - first) % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected) {
      return absl::InvalidArgumentError(
          StrCat("messages[", i, "].role is \"", messages[i].role, "\", expected \"", expected,
                 "\": this model's chat template takes user and assistant messages in turn"));
    }
  }
  return absl::OkStatus();
}

std::string Llama2(const std::vector<ChatMessage>& messages, std::string_view bos, std::string_view eos) {
  std::string out;
  std::string system;
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    if (message.role == "system") {
      system = StrCat("<<SYS>>\n", message.content, "\n<</SYS>>\n\n");
    } else if (message.role == "user") {
      if (!out.empty()) out += bos;
      StrAppend(&out, "[INST] ", Strip(system + message.content), " [/INST]");
      system.clear();
    } else {
      StrAppend(&out, " ", Strip(message.content), " ", eos);
    }
  }
  return out;
}

std::string Mistral(std::string_view source, const std::vector<ChatMessage>& messages, std::string_view eos) {
  const std::string_view close = Contains(source, " [/INST]") ? " [/INST]" : "[/INST]";
  const std::string_view lead = Contains(source, "' ' + message") || Contains(source, "\" \" + message") ? " " : "";
  std::string out;
  std::string system;
  for (const ChatMessage& message : messages) {
    if (message.role == "system") {
      system = message.content + "\n\n";
    } else if (message.role == "user") {
      StrAppend(&out, "[INST] ", system, message.content, close);
      system.clear();
    } else {
      StrAppend(&out, lead, message.content, eos);
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> RenderChat(std::string_view source, const std::vector<ChatMessage>& messages,
                                       bool add_generation_prompt, std::string_view bos, std::string_view eos) {
  if (Contains(source, "<|im_start|>")) return ChatMl(source, messages, add_generation_prompt);
  if (Contains(source, "<|start_header_id|>")) return Llama3(source, messages, add_generation_prompt);
  if (Contains(source, "[INST]") && !Contains(source, "[SYSTEM_PROMPT]")) {
    if (absl::Status status = CheckTurns(messages); !status.ok()) return status;
    return Contains(source, "<<SYS>>") ? Llama2(messages, bos, eos) : Mistral(source, messages, eos);
  }
  return absl::UnimplementedError(
      "the model's chat template is not one of ChatML, Llama 2, Llama 3 and Mistral: use the completion routes with a "
      "prompt "
      "that you format");
}

}  // namespace patella::engine
