#include "engine/text/tokenizer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "engine/text/chat_template.h"
#include "engine/text/vocabulary.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::engine {

int32_t Vocabulary::Find(std::string_view token) const {
  const auto found = ids.find(ToAbsl(token));
  return found == ids.end() ? -1 : found->second;
}

namespace {

absl::StatusOr<std::unique_ptr<Vocabulary>> ReadVocabulary(const GgufFile& file) {
  auto vocabulary = std::make_unique<Vocabulary>();
  PATELLA_ASSIGN_OR_RETURN(vocabulary->tokens, file.GetStrings("tokenizer.ggml.tokens"));
  const size_t count = vocabulary->tokens.size();
  if (count == 0 || count > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return absl::InvalidArgumentError(StrCat(file.path(), ": tokenizer.ggml.tokens has ", count, " tokens"));
  }
  vocabulary->kinds.assign(count, TokenKind::kNormal);
  if (file.Has("tokenizer.ggml.token_type")) {
    PATELLA_ASSIGN_OR_RETURN(const std::vector<int64_t> kinds, file.GetInts("tokenizer.ggml.token_type"));
    if (kinds.size() != count) {
      return absl::InvalidArgumentError(StrCat(file.path(), ": tokenizer.ggml.token_type has ", kinds.size(),
                                               " entries for ", count, " tokens: the file is damaged"));
    }
    for (size_t i = 0; i < count; ++i) {
      if (kinds[i] >= 1 && kinds[i] <= 6) vocabulary->kinds[i] = static_cast<TokenKind>(kinds[i]);
    }
  }
  vocabulary->ids.reserve(count);
  for (size_t i = 0; i < count; ++i) vocabulary->ids.emplace(vocabulary->tokens[i], static_cast<int32_t>(i));
  return vocabulary;
}

bool IsControl(TokenKind kind) { return kind == TokenKind::kControl || kind == TokenKind::kUnknown; }

// Tokens that are looked for in the text itself, before anything else.
class WrittenTokens {
 public:
  explicit WrittenTokens(const Vocabulary& vocabulary) {
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      const TokenKind kind = vocabulary.kinds[i];
      const std::string& text = vocabulary.tokens[i];
      if ((!IsControl(kind) && kind != TokenKind::kUserDefined) || text.empty()) continue;
      by_first_byte_[static_cast<unsigned char>(text[0])].push_back({text, static_cast<int32_t>(i), IsControl(kind)});
    }
    for (auto& entries : by_first_byte_) {
      std::stable_sort(entries.begin(), entries.end(),
                       [](const Entry& a, const Entry& b) { return a.text.size() > b.text.size(); });
    }
  }

  struct Entry {
    std::string text;
    int32_t id;
    bool control;
  };

  // The longest token that `text` begins with; nullptr if none.
  const Entry* At(std::string_view text, bool with_control) const {
    for (const Entry& entry : by_first_byte_[static_cast<unsigned char>(text[0])]) {
      if ((with_control || !entry.control) && text.starts_with(entry.text)) return &entry;
    }
    return nullptr;
  }

 private:
  std::array<std::vector<Entry>, 256> by_first_byte_;  // longest first
};

struct TokenizerSettings {
  bool sentence_piece = false;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;
  int32_t bos = -1;
  int32_t eos = -1;
  int32_t eot = -1;
  std::string chat_template;
};

bool BoolOr(const GgufFile& file, std::string_view key, bool otherwise) {
  const absl::StatusOr<int64_t> value = file.GetInt(key);
  return value.ok() ? *value != 0 : otherwise;
}

absl::StatusOr<int32_t> IdOr(const GgufFile& file, std::string_view key, size_t vocab_size, int32_t otherwise) {
  if (!file.Has(key)) return otherwise < static_cast<int64_t>(vocab_size) ? otherwise : -1;
  PATELLA_ASSIGN_OR_RETURN(const int64_t id, file.GetInt(key));
  if (id < 0 || id >= static_cast<int64_t>(vocab_size)) {
    return absl::InvalidArgumentError(
        StrCat(file.path(), ": ", key, " is ", id, ", but there are ", vocab_size, " tokens: the file is damaged"));
  }
  return static_cast<int32_t>(id);
}

absl::StatusOr<TokenizerSettings> ReadSettings(const GgufFile& file, size_t vocab_size) {
  TokenizerSettings settings;
  PATELLA_ASSIGN_OR_RETURN(const std::string model, file.GetString("tokenizer.ggml.model"));
  if (model != "gpt2" && model != "llama") {
    return absl::UnimplementedError(
        StrCat(file.path(), ": tokenizer.ggml.model \"", model, "\" is not supported; supported are gpt2 and llama"));
  }
  const absl::StatusOr<std::string> pre = file.GetString("tokenizer.ggml.pre");
  const bool llama3 = pre.ok() && (*pre == "llama-bpe" || *pre == "llama3" || *pre == "llama-v3");
  settings.sentence_piece = model == "llama";
  settings.add_bos = BoolOr(file, "tokenizer.ggml.add_bos_token", settings.sentence_piece || llama3);
  settings.add_eos = BoolOr(file, "tokenizer.ggml.add_eos_token", false);
  settings.add_space_prefix = settings.sentence_piece && BoolOr(file, "tokenizer.ggml.add_space_prefix", true);
  const int32_t otherwise = settings.sentence_piece ? 1 : -1;
  PATELLA_ASSIGN_OR_RETURN(settings.bos, IdOr(file, "tokenizer.ggml.bos_token_id", vocab_size, otherwise));
  PATELLA_ASSIGN_OR_RETURN(settings.eos,
                           IdOr(file, "tokenizer.ggml.eos_token_id", vocab_size, settings.sentence_piece ? 2 : -1));
  PATELLA_ASSIGN_OR_RETURN(settings.eot, IdOr(file, "tokenizer.ggml.eot_token_id", vocab_size, -1));
  if (const auto chat = file.GetString("tokenizer.chat_template"); chat.ok()) settings.chat_template = *chat;
  return settings;
}

class GgufTokenizer final : public Tokenizer {
 public:
  GgufTokenizer(std::unique_ptr<Vocabulary> vocabulary, std::unique_ptr<Encoder> encoder, TokenizerSettings settings)
      : vocabulary_(std::move(vocabulary)),
        encoder_(std::move(encoder)),
        settings_(std::move(settings)),
        written_(*vocabulary_) {
    for (std::string_view name : {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>",
                                  "<end_of_turn>", "<|end|>", "</s>"}) {
      const int32_t id = vocabulary_->Find(name);
      if (IsSpecial(id)) ends_.push_back(id);
    }
    for (int32_t id : {settings_.eos, settings_.eot}) {
      if (id >= 0) ends_.push_back(id);
    }
  }

  std::vector<int32_t> Encode(std::string_view text, bool add_special, bool parse_special) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3 + 2);
    if (add_special && settings_.add_bos && settings_.bos >= 0) ids.push_back(settings_.bos);
    bool after_special = true;
    size_t begin = 0;
    for (size_t i = 0; i < text.size();) {
      const WrittenTokens::Entry* const entry = written_.At(text.substr(i), parse_special);
      if (entry == nullptr) {
        ++i;
        continue;
      }
      EncodePlain(text.substr(begin, i - begin), after_special, ids);
      ids.push_back(entry->id);
      after_special = true;
      i += entry->text.size();
      begin = i;
    }
    EncodePlain(text.substr(begin), after_special, ids);
    if (add_special && settings_.add_eos && settings_.eos >= 0) ids.push_back(settings_.eos);
    return ids;
  }

  std::string TokenBytes(int32_t id, bool special) const override {
    if (id < 0 || id >= vocab_size()) return "";
    if (IsControl(vocabulary_->kinds[static_cast<size_t>(id)])) {
      return special ? vocabulary_->tokens[static_cast<size_t>(id)] : "";
    }
    return encoder_->TokenBytes(id);
  }

  std::string Decode(const std::vector<int32_t>& ids, bool skip_special) const override {
    std::string bytes;
    bool strip = settings_.add_space_prefix;  // the space that Encode put before each stretch of text
    for (int32_t id : ids) {
      std::string piece = TokenBytes(id, !skip_special);
      if (IsSpecial(id)) {
        strip = settings_.add_space_prefix;
      } else {
        if (strip && piece.starts_with(' ')) piece.erase(0, 1);
        strip = false;
      }
      bytes += piece;
    }
    Utf8Stream stream;
    std::string text = stream.Push(bytes);
    return text + stream.Flush();
  }

  bool IsEndOfGeneration(int32_t id) const override { return std::find(ends_.begin(), ends_.end(), id) != ends_.end(); }
  bool IsSpecial(int32_t id) const override {
    return id >= 0 && id < vocab_size() && IsControl(vocabulary_->kinds[static_cast<size_t>(id)]);
  }
  int vocab_size() const override { return static_cast<int>(vocabulary_->tokens.size()); }
  int32_t bos_id() const override { return settings_.bos; }
  int32_t eos_id() const override { return settings_.eos; }

  absl::StatusOr<std::string> ApplyChatTemplate(const std::vector<ChatMessage>& messages,
                                                bool add_generation_prompt) const override {
    if (settings_.chat_template.empty()) {
      return absl::UnimplementedError(
          "the model file has no chat template: use the completion routes, or a model tuned for chat");
    }
    return RenderChat(settings_.chat_template, messages, add_generation_prompt, TokenBytes(settings_.bos, true),
                      TokenBytes(settings_.eos, true));
  }

 private:
  void EncodePlain(std::string_view text, bool after_special, std::vector<int32_t>& ids) const {
    if (text.empty()) return;
    if (settings_.add_space_prefix && after_special) {
      encoder_->Encode(StrCat(" ", text), ids);
    } else {
      encoder_->Encode(text, ids);
    }
  }

  std::unique_ptr<Vocabulary> vocabulary_;
  std::unique_ptr<Encoder> encoder_;  // refers to *vocabulary_
  TokenizerSettings settings_;
  WrittenTokens written_;
  std::vector<int32_t> ends_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufFile& file) {
  PATELLA_ASSIGN_OR_RETURN(std::unique_ptr<Vocabulary> vocabulary, ReadVocabulary(file));
  PATELLA_ASSIGN_OR_RETURN(TokenizerSettings settings, ReadSettings(file, vocabulary->tokens.size()));
  PATELLA_ASSIGN_OR_RETURN(std::unique_ptr<Encoder> encoder,
                           settings.sentence_piece ? MakeSentencePiece(file, *vocabulary) : MakeBpe(file, *vocabulary));
  return std::make_unique<GgufTokenizer>(std::move(vocabulary), std::move(encoder), std::move(settings));
}

}  // namespace patella::engine
