// One admitted request, from its permits to its last byte: tokens come in, a body or a stream of events goes out.
//
// Loop thread. It ends once, in one of four ways: the answer is complete, it failed (Fail), the client left or reads too slowly
// (Drop). After that nothing is written and `over` is true. It cancels its own sequences; who holds it forgets it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/serve/engine_loop.h"
#include "engine/serve/engine_metrics.h"
#include "engine/serve/options.h"
#include "engine/serve/text_collector.h"
#include "engine/text/tokenizer.h"
#include "lib/base/error_kind.h"
#include "lib/http/server.h"
#include "lib/wire/generation.h"
#include "lib/wire/openai.h"

namespace patella::engine {

// What a request came with.
struct Call {
  Route route = Route::kGenerate;
  std::string path;
  wire::GenerateCall body;
  TimePoint arrived{};
};

class Generation {
 public:
  // All references outlive it.
  Generation(const ServiceOptions& options, const Tokenizer& tokenizer, EngineLoop& engine, EngineMetrics& metrics,
             Call call, std::shared_ptr<http::Exchange> exchange);

  // One job a prompt, with ids first_id, first_id + 1, … To be submitted after Begin.
  std::vector<Job> MakeJobs(std::vector<std::vector<int32_t>> prompts, uint64_t first_id);
  void Begin();  // a stream's head

  void OnEvent(size_t index, const Event& event, TimePoint now);
  void Fail(ErrorKind kind, std::string_view message);
  void Drop();  // nobody reads the answer
  // A comment if the stream was silent for options.keep_alive (a long queue or prefill), so that no proxy takes it for dead.
  void KeepAlive(TimePoint now);

  bool over() const { return over_; }
  bool ended(size_t index) const { return parts_[index].ended; }
  const std::vector<uint64_t>& ids() const { return ids_; }
  http::Exchange& exchange() { return *exchange_; }

 private:
  struct Part {
    TextCollector text;
    wire::Answer answer;
    bool ended = false;
    bool first = true;
  };

  std::vector<wire::TokenText> TextsOf(std::span<const int32_t> tokens) const;
  void OnToken(size_t index, const Event& event);
  void WriteToken(size_t index, const TextCollector::Piece& piece);
  void Finish(TimePoint now);
  void FinishStream(const RequestTimes& times);
  void SendAnswer(const RequestTimes& times, const std::vector<wire::Answer>& answers);
  void CancelRest();

  const ServiceOptions& options_;
  const Tokenizer& tokenizer_;
  EngineLoop& engine_;
  EngineMetrics& metrics_;
  const Call call_;
  const std::shared_ptr<http::Exchange> exchange_;
  wire::OpenAiHead head_;
  std::vector<uint64_t> ids_;
  std::vector<Part> parts_;
  size_t open_ = 0;  // parts that have not ended
  bool over_ = false;
  TimePoint started_{}, first_token_{}, last_write_{};
};

}  // namespace patella::engine
