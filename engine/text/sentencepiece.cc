// SentencePiece-style BPE (Llama 2, Mistral): neighbours merge by the score of the joined token; what no token spells falls back
// to byte tokens "<0xNN>". Spaces are spelled "▁".
#include <array>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "engine/text/merge.h"
#include "engine/text/unicode.h"
#include "engine/text/vocabulary.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::engine {
namespace {

constexpr char kSpaceMark[] = "\xe2\x96\x81";

class SentencePiece final : public Encoder {
 public:
  SentencePiece(const Vocabulary& vocabulary, std::vector<float> scores, int32_t unknown)
      : vocabulary_(vocabulary), scores_(std::move(scores)), unknown_(unknown) {
    for (size_t byte = 0; byte < 256; ++byte) {
      byte_ids_[byte] = vocabulary.Find(absl::StrFormat("<0x%02X>", byte));
      if (byte_ids_[byte] >= 0) byte_of_[byte_ids_[byte]] = static_cast<char>(byte);
    }
  }

  void Encode(std::string_view text, std::vector<int32_t>& ids) const override {
    const std::string marked = absl::StrReplaceAll(ToAbsl(text), {{" ", kSpaceMark}});
    Merger merger;
    for (uint32_t at = 0; at < marked.size();) {
      const std::string_view rest = std::string_view(marked).substr(at);
      const CodePoint next = FirstCodePoint(rest);
      const uint32_t bytes = next.state == CodePoint::State::kValid ? next.bytes : 1;
      merger.pieces().push_back({at, bytes, vocabulary_.Find(rest.substr(0, bytes))});
      at += bytes;
    }
    merger.Run([&](const Piece& left, const Piece& right) -> std::optional<MergeRule> {
      const int32_t id = vocabulary_.Find(std::string_view(marked).substr(left.begin, left.bytes + right.bytes));
      if (id < 0) return std::nullopt;
      return MergeRule{-static_cast<double>(scores_[static_cast<size_t>(id)]), id};
    });
    for (const Piece& piece : merger.pieces()) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
      } else {
        Fallback(std::string_view(marked).substr(piece.begin, piece.bytes), ids);
      }
    }
  }

  std::string TokenBytes(int32_t id) const override {
    if (const auto found = byte_of_.find(id); found != byte_of_.end()) return std::string(1, found->second);
    return absl::StrReplaceAll(vocabulary_.tokens[static_cast<size_t>(id)], {{kSpaceMark, " "}});
  }

 private:
  void Fallback(std::string_view text, std::vector<int32_t>& ids) const {
    for (char c : text) {
      const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
      if (id >= 0) {
        ids.push_back(id);
      } else if (unknown_ >= 0) {
        ids.push_back(unknown_);
        return;
      }
    }
  }

  const Vocabulary& vocabulary_;
  std::vector<float> scores_;
  int32_t unknown_;
  std::array<int32_t, 256> byte_ids_;
  absl::flat_hash_map<int32_t, char> byte_of_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> MakeSentencePiece(const GgufFile& file, const Vocabulary& vocabulary) {
  PATELLA_ASSIGN_OR_RETURN(std::vector<float> scores, file.GetFloats("tokenizer.ggml.scores"));
  if (scores.size() != vocabulary.tokens.size()) {
    return absl::InvalidArgumentError(StrCat(file.path(), ": tokenizer.ggml.scores has ", scores.size(),
                                             " entries for ", vocabulary.tokens.size(),
                                             " tokens: the file is damaged"));
  }
  const absl::StatusOr<int64_t> unknown = file.GetInt("tokenizer.ggml.unknown_token_id");
  return std::make_unique<SentencePiece>(vocabulary, std::move(scores),
                                         unknown.ok() ? static_cast<int32_t>(*unknown) : 0);
}

}  // namespace patella::engine
