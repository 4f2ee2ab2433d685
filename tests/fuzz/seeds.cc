// Writes where fuzzing starts: a few valid inputs a target, in FOLDER/TARGET/.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "engine/formats/gguf_writer.h"
#include "tests/unit/engine/model/reference.h"

namespace patella {
namespace {

void Write(const std::filesystem::path& folder, const std::string& name, const std::string& bytes) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / name, std::ios::binary) << bytes;
}

std::string Bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string Vocabulary() {
  engine::GgufWriter writer;
  writer.SetString("tokenizer.ggml.model", "gpt2");
  writer.SetString("tokenizer.ggml.pre", "smollm");
  writer.SetStrings("tokenizer.ggml.tokens", std::vector<std::string>{"a", "b", "ab", "Ġ", "Ġa", "<|im_end|>"});
  writer.SetStrings("tokenizer.ggml.merges", std::vector<std::string>{"a b", "Ġ a"});
  writer.SetInts("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 1, 1, 3});
  writer.SetUint32("tokenizer.ggml.eos_token_id", 5);
  writer.SetString("tokenizer.chat_template", "<|im_start|>");
  return writer.Bytes();
}

constexpr const char* kBodies[] = {
    R"({"inputs":"a","parameters":{"max_new_tokens":3,"temperature":0.5,"top_k":4,"top_p":0.9,"repetition_penalty":1.1,"seed":1,
"stop":["x"],"details":true,"decoder_input_details":true,"top_n_tokens":2,"truncate":9,"do_sample":true,"best_of":1},"stream":true})",
    R"({"prompt":["a",[1,2]],"max_tokens":3,"temperature":1,"logprobs":2,"stop":"x","stream":true,"stream_options":{"include_usage":true},"n":1})",
    R"({"messages":[{"role":"user","content":[{"type":"text","text":"é"}]}],"max_completion_tokens":3,"logprobs":true,"top_logprobs":20})",
};

int Main(const std::filesystem::path& folder) {
  const engine::TensorType kinds[] = {engine::TensorType::kQ4_1, engine::TensorType::kF32, engine::TensorType::kQ8_0};
  for (const engine::TensorType kind : kinds) {
    std::filesystem::create_directories(folder);
    const std::string path = folder / "model.gguf", name = "llama-" + std::to_string(static_cast<int>(kind));
    (void)engine::TinyLlama(kind, 1, path);
    Write(folder / "gguf", name, Bytes(path));
    Write(folder / "model", name, Bytes(path));
    std::filesystem::remove(path);
  }
  Write(folder / "gguf", "vocabulary", Vocabulary());
  Write(folder / "model", "vocabulary", Vocabulary());
  Write(folder / "text", "words", "\x03It's 2026, ab ab!\n\n  世界 é \xf0\x9f\x98\x80 <s></s> 'll\t");
  Write(folder / "text", "broken", "\x01\xe4\xbd\xff\xc0\x80 a");
  for (size_t i = 0; i < std::size(kBodies); ++i) Write(folder / "bodies", std::to_string(i), kBodies[i]);
  Write(folder / "events", "stream",
        "\x02:\n\ndata: {\"a\":1}\n\ndata: b\r\ndata:c\r\n\r\nevent: x\nid: 1\ndata: [DONE]\n\n");
  Write(folder / "events", "url", "\x01http://user@[::1]:8080/path?q#f");
  return 0;
}

}  // namespace
}  // namespace patella

int main(int argc, char** argv) {
  if (argc == 2) return patella::Main(argv[1]);
  std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
  return 2;
}
