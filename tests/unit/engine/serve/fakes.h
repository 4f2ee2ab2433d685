// A model whose next token is the next letter, and a tokenizer of bytes.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "engine/backend/executor.h"
#include "engine/text/tokenizer.h"

namespace patella::engine {

constexpr int kVocabulary = 256;  // bytes; 0 is the end

// After token t comes t + 1, less likely the two letters after that; after 'z' the end.
inline std::vector<float> LettersAfter(int32_t token) {
  std::vector<float> row(kVocabulary, 0);
  const float weights[] = {8, 6, 5};
  for (int ahead = 3; ahead >= 1; --ahead) row[token + ahead > 'z' ? 0 : token + ahead] = weights[ahead - 1];
  return row;
}

// Gives LettersAfter. Can be held at a gate to keep requests in flight.
class LetterExecutor final : public Executor {
 public:
  absl::Status Forward(std::span<const StepItem> items, std::vector<float>* logits) override {
    std::unique_lock lock(mutex_);
    ++begun_;
    wake_.wait(lock, [this] { return open_ || allowed_ > 0; });
    if (!open_) --allowed_;
    logits->clear();
    for (const StepItem& item : items) {
      for (int32_t token : item.tokens.last(LogitRows(item))) {
        const std::vector<float> row = LettersAfter(token);
        logits->insert(logits->end(), row.begin(), row.end());
      }
    }
    return absl::OkStatus();
  }
  int vocab_size() const override { return kVocabulary; }
  Capacity capacity() const override { return {.block_size = 16, .blocks = 256, .max_tokens_per_forward = 64}; }
  void SetOpen(bool open) {
    std::lock_guard lock(mutex_);
    open_ = open;
    wake_.notify_all();
  }
  void AllowOneStep() {
    std::lock_guard lock(mutex_);
    ++allowed_;
    wake_.notify_all();
  }
  int begun() {
    std::lock_guard lock(mutex_);
    return begun_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool open_ = true;
  int allowed_ = 0;  // steps that may pass the closed gate
  int begun_ = 0;
};

class ByteTokenizer : public Tokenizer {
 public:
  std::map<int32_t, std::string> texts;  // of tokens that stand for something else than their byte

  std::vector<int32_t> Encode(std::string_view text, bool, bool) const override {
    const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
    return {bytes, bytes + text.size()};
  }
  std::string TokenBytes(int32_t id, bool special) const override {
    if (id == 0) return special ? "<end>" : "";
    if (const auto text = texts.find(id); text != texts.end()) return text->second;
    return std::string(1, static_cast<char>(id));
  }
  std::string Decode(const std::vector<int32_t>& ids, bool) const override { return {ids.begin(), ids.end()}; }
  bool IsEndOfGeneration(int32_t id) const override { return id == 0; }
  bool IsSpecial(int32_t id) const override { return id == 0; }
  int vocab_size() const override { return kVocabulary; }
  int32_t bos_id() const override { return -1; }
  int32_t eos_id() const override { return 0; }
  absl::StatusOr<std::string> ApplyChatTemplate(const std::vector<ChatMessage>& messages, bool) const override {
    std::string text;
    for (const ChatMessage& m : messages) text += m.content;
    return text;
  }
};

}  // namespace patella::engine
