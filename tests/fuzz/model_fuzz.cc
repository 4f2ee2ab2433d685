// Any bytes as a model file: it is refused with a message, or it loads, tokenizes and computes.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "engine/formats/gguf.h"
#include "engine/model/loader.h"
#include "engine/text/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace patella::engine {
namespace {

using fuzz::Promise;

void Tokenize(const GgufFile& file) {
  const auto tokenizer = Tokenizer::FromGguf(file);
  if (!tokenizer.ok()) return Promise(!tokenizer.status().message().empty(), "an error says what is wrong");
  const std::vector<int32_t> ids = (*tokenizer)->Encode("A text with 12 words,\n é 世界 <s> <|im_end|>", true, true);
  for (int32_t id : ids) Promise(id >= 0 && id < (*tokenizer)->vocab_size(), "ids are in the vocabulary");
  (void)(*tokenizer)->Decode(ids, false);
  (void)(*tokenizer)->ApplyChatTemplate({{"user", "hello"}}, true);
}

void Compute(const GgufFile& file) {
  const auto model = ReadModelInfo(file);
  if (!model.ok() || model->kv_bytes_per_token > (1 << 20) || model->vocab > (1 << 20)) return;
  const auto executor = LoadCpu(file, {.threads = 1, .kv_tokens = 32, .block_size = 16, .max_tokens_per_forward = 8});
  if (!executor.ok()) return Promise(!executor.status().message().empty(), "an error says what is wrong");
  const int32_t tokens[] = {0, model->vocab - 1, 0};
  const int32_t blocks[] = {1};
  const StepItem item{tokens, 0, blocks, true};
  std::vector<float> logits;
  const absl::Status computed = (*executor)->Forward(std::span(&item, 1), &logits);
  Promise(!computed.ok() || std::ssize(logits) == model->vocab, "a row of logits is the vocabulary's size");
}

// In memory, but with a path that can be opened and mapped.
void WithFile(const uint8_t* bytes, size_t size) {
  const int fd = memfd_create("fuzz.gguf", 0);
  Promise(fd >= 0 && write(fd, bytes, size) == static_cast<ssize_t>(size), "the input can be written");
  const auto file = GgufFile::Open("/proc/self/fd/" + std::to_string(fd));
  if (file.ok()) {
    Tokenize(**file);
    Compute(**file);
  }
  close(fd);
}

}  // namespace
}  // namespace patella::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  patella::engine::WithFile(bytes, size);
  return 0;
}
