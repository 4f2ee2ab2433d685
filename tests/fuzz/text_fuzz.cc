// Any bytes as text: encoding gives ids of the vocabulary, byte-level vocabularies give the same bytes back, and what streams make of
// bytes does not depend on where they are cut.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "engine/formats/gguf_writer.h"
#include "engine/text/chat_template.h"
#include "engine/text/pretokenizer.h"
#include "engine/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace patella::engine {
namespace {

using fuzz::Promise;

// <0x00> … <0xFF> and a few words: every text can be written with it.
std::unique_ptr<Tokenizer> SentencePiece() {
  GgufWriter writer;
  writer.SetString("tokenizer.ggml.model", "llama");
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> kinds = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    tokens.push_back(name);
    kinds.push_back(6);
  }
  for (const char* word : {"▁", "a", "b", "ab", "▁a", "▁ab", "世"}) {
    tokens.push_back(word);
    kinds.push_back(1);
  }
  const std::vector<float> scores(tokens.size(), -1);
  writer.SetStrings("tokenizer.ggml.tokens", tokens);
  writer.SetInts("tokenizer.ggml.token_type", kinds);
  writer.SetFloats("tokenizer.ggml.scores", scores);
  const std::string path = "/tmp/text_fuzz_" + std::to_string(getpid()) + ".gguf";
  Promise(writer.WriteTo(path).ok(), "the vocabulary can be written");
  const auto file = GgufFile::Open(path);
  std::remove(path.c_str());
  Promise(file.ok(), "the vocabulary can be read");
  auto tokenizer = Tokenizer::FromGguf(**file);
  Promise(tokenizer.ok(), "the vocabulary is one");
  return *std::move(tokenizer);
}

void CheckEncode(std::string_view text) {
  static const std::unique_ptr<Tokenizer> tokenizer = SentencePiece();
  for (const bool special : {false, true}) {
    const std::vector<int32_t> ids = tokenizer->Encode(text, special, special);
    for (int32_t id : ids) Promise(id >= 0 && id < tokenizer->vocab_size(), "ids are in the vocabulary");
    (void)tokenizer->Decode(ids, !special);
  }
}

void CheckStream(std::string_view text, size_t cut) {
  Utf8Stream whole, parts;
  std::string want = whole.Push(text);
  want += whole.Flush();
  std::string got;
  for (size_t at = 0; at < text.size(); at += cut) got += parts.Push(text.substr(at, cut));
  Promise(got + parts.Flush() == want, "cuts do not change the text");
}

void CheckWords(std::string_view text) {
  for (const PreTokenizer kind :
       {PreTokenizer::kGpt2, PreTokenizer::kSmollm, PreTokenizer::kLlama3, PreTokenizer::kQwen2}) {
    std::vector<std::string_view> words;
    SplitWords(kind, text, words);
    std::string joined;
    for (const std::string_view word : words) joined += word;
    Promise(joined == text, "words are the text, whole and in order");
  }
}

void CheckChat(std::string_view text) {
  const std::string content(text);
  for (const char* source : {"<|im_start|>", "[INST] <<SYS>>", "<|start_header_id|>", "[INST]"})
    (void)RenderChat(source, {{"system", content}, {"user", content}}, true, "<s>", "</s>");
  (void)RenderChat(content, {{content, "a"}}, false, "", "");
}

}  // namespace
}  // namespace patella::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace patella::engine;
  if (size < 1) return 0;
  const std::string_view text = patella::fuzz::Text(bytes + 1, size - 1);
  CheckEncode(text);
  CheckStream(text, size_t{1} + bytes[0] % 7);
  CheckWords(text);
  CheckChat(text);
  return 0;
}
