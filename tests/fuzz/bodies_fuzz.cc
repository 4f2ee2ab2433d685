// Any bytes as a request's body: refused with 400 or 422 and a message, or a call that can be served.
#include <algorithm>
#include <cmath>
#include <string>

#include "lib/base/error_kind.h"
#include "lib/wire/errors.h"
#include "lib/wire/openai.h"
#include "lib/wire/request_size.h"
#include "lib/wire/stream_event.h"
#include "lib/wire/tgi.h"
#include "tests/fuzz/fuzz.h"

namespace patella::wire {
namespace {

using fuzz::Promise;

void Check(const absl::StatusOr<GenerateCall>& call, std::string_view path) {
  if (!call.ok()) {
    const int status = InfoOf(KindOf(call.status())).http_status;
    Promise(status == 400 || status == 422, "a body is refused as the client's mistake");
    const std::string message(call.status().message());
    Promise(!ErrorBody(KindOf(call.status()), message, path).empty(), "the message can be written");
    return;
  }
  Promise(!call->prompts.empty() || !call->chat.empty(), "there is something to answer");
  Promise(call->max_new_tokens >= 0 && call->truncate >= 0 && call->top_tokens >= 0 && call->top_tokens <= 20,
          "counts");
  Promise(call->stop.size() <= 16, "few stop sequences");
  const Sampling& s = call->sampling;
  Promise(std::isfinite(s.temperature) && s.temperature >= 0 && s.top_k >= 0, "temperature and top_k");
  Promise(s.top_p >= 0 && s.top_p <= 1 && s.repetition_penalty > 0, "top_p and repetition_penalty");
  for (const Prompt& prompt : call->prompts) {
    if (const auto* ids = std::get_if<std::vector<int32_t>>(&prompt)) {
      for (int32_t id : *ids) Promise(id >= 0, "token ids are not negative");
    }
  }
  // What came in goes out again, whatever its bytes.
  Answer answer;
  if (!call->chat.empty()) answer.text = call->chat.front().second;
  if (call->chat.empty() && std::holds_alternative<std::string>(call->prompts.front()))
    answer.text = std::get<std::string>(call->prompts.front());
  answer.tokens.push_back({.id = 1, .text = answer.text, .logprob = -NAN, .bytes = answer.text.substr(0, 3)});
  answer.tokens[0].top = answer.tokens;
  (void)TgiAnswer(answer, true, false);
  for (bool chat : {false, true}) (void)OpenAiAnswer({.id = "x", .chat = chat, .logprobs = true}, {answer});
}

// The sidecar gives as many permits as the engine will take, whatever the body looks like.
void CheckSize(const RequestSize& size, const absl::StatusOr<GenerateCall>& call) {
  Promise(size.sequences >= 1 && size.output_tokens.value_or(0) >= 0, "sizes");
  if (!call.ok()) return;
  Promise(size.sequences >= static_cast<int>(call->prompts.size()), "no prompt is overlooked");
  Promise(size.output_tokens.value_or(1 << 20) >= std::min(call->max_new_tokens, 1 << 20), "nor a token");
}

}  // namespace
}  // namespace patella::wire

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace patella::wire;
  const std::string_view body = patella::fuzz::Text(bytes, size);
  Check(ParseTgiCall(body), "/generate");
  Check(ParseCompletionCall(body), "/v1/completions");
  CheckSize(SizeOf(body), ParseCompletionCall(body));
  Check(ParseChatCall(body), "/v1/chat/completions");
  for (const StreamPiece& piece : PiecesOf(body)) Promise(piece.choice >= 0 && piece.tokens >= 0, "pieces");
  return 0;
}
