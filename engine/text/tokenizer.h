// Text to token ids and back, as the model file says. Thread-safe after construction.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/formats/gguf.h"

namespace patella::engine {

struct ChatMessage {
  std::string role;  // system | user | assistant
  std::string content;
};

class Tokenizer {
 public:
  // Byte-level BPE ("gpt2") and SentencePiece-style ("llama") from tokenizer.ggml.*; Unimplemented names what it does not know.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const GgufFile& file);
  virtual ~Tokenizer() = default;

  // add_special: add BOS/EOS as the file asks. parse_special: recognise control tokens written in the text (chat templates).
  virtual std::vector<int32_t> Encode(std::string_view text, bool add_special, bool parse_special) const = 0;
  // The bytes of one token; may end inside a UTF-8 sequence. Control tokens give "" unless `special`.
  virtual std::string TokenBytes(int32_t id, bool special = false) const = 0;
  virtual std::string Decode(const std::vector<int32_t>& ids, bool skip_special = true) const = 0;
  virtual bool IsEndOfGeneration(int32_t id) const = 0;  // EOS, EOT, <|im_end|>, …
  virtual bool IsSpecial(int32_t id) const = 0;
  virtual int vocab_size() const = 0;
  virtual int32_t bos_id() const = 0;  // -1 if none
  virtual int32_t eos_id() const = 0;

  // Renders with the file's chat template (ChatML, Llama-2, Llama-3, Mistral, recognised by fingerprint; Unimplemented else).
  virtual absl::StatusOr<std::string> ApplyChatTemplate(const std::vector<ChatMessage>& messages,
                                                        bool add_generation_prompt) const = 0;
};

// Holds bytes back until they are whole code points; invalid bytes become U+FFFD. One per stream.
class Utf8Stream {
 public:
  std::string Push(std::string_view bytes);
  std::string Flush();

 private:
  std::string held_;
};

}  // namespace patella::engine
