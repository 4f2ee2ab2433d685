// What the tokenizers read from the model file, and the interface of the two kinds. Internal to engine/text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/formats/gguf.h"

namespace patella::engine {

// Values of tokenizer.ggml.token_type.
enum class TokenKind : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct Vocabulary {
  std::vector<std::string> tokens;  // as the file spells them
  std::vector<TokenKind> kinds;     // as many as tokens
  absl::flat_hash_map<std::string, int32_t> ids;

  int32_t Find(std::string_view token) const;  // -1 if absent
};

// Text between control tokens to ids and back.
class Encoder {
 public:
  virtual ~Encoder() = default;
  virtual void Encode(std::string_view text, std::vector<int32_t>& ids) const = 0;
  virtual std::string TokenBytes(int32_t id) const = 0;  // of a token that is not special
};

// Both keep a reference to the vocabulary.
absl::StatusOr<std::unique_ptr<Encoder>> MakeBpe(const GgufFile& file, const Vocabulary& vocabulary);
absl::StatusOr<std::unique_ptr<Encoder>> MakeSentencePiece(const GgufFile& file, const Vocabulary& vocabulary);

}  // namespace patella::engine
