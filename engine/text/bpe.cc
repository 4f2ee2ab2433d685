// Byte-level BPE: each byte of a word starts as a token, and neighbours merge in the order of tokenizer.ggml.merges.
// Token texts in the file spell bytes as printable characters (GPT-2's table): the space is "Ġ".
#include <array>
#include <utility>

#include "engine/text/merge.h"
#include "engine/text/pretokenizer.h"
#include "engine/text/unicode.h"
#include "engine/text/vocabulary.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::engine {
namespace {

// Printable Latin-1 stands for itself; the other 68 bytes, in order, for U+0100 onwards.
std::array<uint32_t, 256> ByteSpelling() {
  std::array<uint32_t, 256> spelling;
  uint32_t next = 0x100;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    spelling[byte] = printable ? byte : next++;
  }
  return spelling;
}

std::string Utf8(uint32_t below_0x800) {
  if (below_0x800 < 0x80) return std::string(1, static_cast<char>(below_0x800));
  return {static_cast<char>(0xc0 | below_0x800 >> 6), static_cast<char>(0x80 | (below_0x800 & 0x3f))};
}

// The bytes that a token spells; a token with a character outside the table stands for its own text.
std::string SpelledBytes(std::string_view token, const absl::flat_hash_map<uint32_t, char>& bytes) {
  std::string out;
  for (std::string_view rest = token; !rest.empty();) {
    const CodePoint next = FirstCodePoint(rest);
    const auto found = bytes.find(next.value);
    if (found == bytes.end()) return std::string(token);
    out += found->second;
    rest.remove_prefix(next.bytes);
  }
  return out;
}

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

class Bpe final : public Encoder {
 public:
  Bpe(const Vocabulary& vocabulary, PreTokenizer pre) : pre_(pre), whole_words_first_(pre == PreTokenizer::kLlama3) {
    const std::array<uint32_t, 256> spelling = ByteSpelling();
    absl::flat_hash_map<uint32_t, char> bytes;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      bytes[spelling[byte]] = static_cast<char>(byte);
      byte_ids_[byte] = vocabulary.Find(Utf8(spelling[byte]));
    }
    text_.reserve(vocabulary.tokens.size());
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      const bool normal = vocabulary.kinds[i] == TokenKind::kNormal;
      text_.push_back(normal ? SpelledBytes(vocabulary.tokens[i], bytes) : vocabulary.tokens[i]);
      if (whole_words_first_ && normal) words_.emplace(text_.back(), static_cast<int32_t>(i));
    }
  }

  absl::Status AddMerges(const Vocabulary& vocabulary, const std::vector<std::string>& merges) {
    merges_.reserve(merges.size());
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const std::string& merge = merges[rank];
      const size_t space = merge.find(' ', 1);
      if (space == std::string::npos || space + 1 == merge.size()) {
        return absl::InvalidArgumentError(
            StrCat("tokenizer.ggml.merges[", rank, "] is not two tokens: the file is damaged"));
      }
      const std::string left = merge.substr(0, space);
      const std::string right = merge.substr(space + 1);
      const int32_t left_id = vocabulary.Find(left);
      const int32_t right_id = vocabulary.Find(right);
      const int32_t id = vocabulary.Find(left + right);
      if (left_id < 0 || right_id < 0 || id < 0) continue;  // cannot happen while encoding
      merges_.emplace(PairKey(left_id, right_id), std::pair(static_cast<int32_t>(rank), id));
    }
    return absl::OkStatus();
  }

  void Encode(std::string_view text, std::vector<int32_t>& ids) const override {
    std::vector<std::string_view> words;
    SplitWords(pre_, text, words);
    Merger merger;
    for (std::string_view word : words) EncodeWord(word, merger, ids);
  }

  std::string TokenBytes(int32_t id) const override { return text_[static_cast<size_t>(id)]; }

 private:
  void EncodeWord(std::string_view word, Merger& merger, std::vector<int32_t>& ids) const {
    if (whole_words_first_) {
      if (const auto found = words_.find(ToAbsl(word)); found != words_.end()) {
        ids.push_back(found->second);
        return;
      }
    }
    std::vector<Piece>& pieces = merger.pieces();
    pieces.clear();
    for (uint32_t i = 0; i < word.size(); ++i) {
      // A byte without a token cannot be expressed and is left out, as the reference tokenizers do.
      const int32_t id = byte_ids_[static_cast<unsigned char>(word[i])];
      if (id >= 0) pieces.push_back({i, 1, id});
    }
    merger.Run([this](const Piece& left, const Piece& right) -> std::optional<MergeRule> {
      const auto found = merges_.find(PairKey(left.id, right.id));
      if (found == merges_.end()) return std::nullopt;
      return MergeRule{static_cast<double>(found->second.first), found->second.second};
    });
    for (const Piece& piece : pieces) ids.push_back(piece.id);
  }

  PreTokenizer pre_;
  bool whole_words_first_;  // Llama 3: a word that is a token is not merged
  std::array<int32_t, 256> byte_ids_;
  std::vector<std::string> text_;                                      // bytes of each token
  absl::flat_hash_map<uint64_t, std::pair<int32_t, int32_t>> merges_;  // pair of ids -> rank, id
  absl::flat_hash_map<std::string, int32_t> words_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> MakeBpe(const GgufFile& file, const Vocabulary& vocabulary) {
  const absl::StatusOr<std::string> name = file.GetString("tokenizer.ggml.pre");
  PATELLA_ASSIGN_OR_RETURN(const PreTokenizer pre, FindPreTokenizer(name.ok() ? *name : ""));
  PATELLA_ASSIGN_OR_RETURN(const std::vector<std::string> merges, file.GetStrings("tokenizer.ggml.merges"));
  auto bpe = std::make_unique<Bpe>(vocabulary, pre);
  PATELLA_RETURN_IF_ERROR(bpe->AddMerges(vocabulary, merges));
  return bpe;
}

}  // namespace patella::engine
