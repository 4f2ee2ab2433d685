// Any bytes as a GGUF file: the parser must give contents whose tensors lie inside the bytes, or an error.
#include "engine/formats/gguf_parser.h"
#include "tests/fuzz/fuzz.h"

using patella::engine::TensorInfo;
using patella::fuzz::Promise;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(bytes), size);
  const auto parsed = patella::engine::ParseGguf("fuzz.gguf", file);
  if (!parsed.ok()) {
    Promise(!parsed.status().message().empty(), "an error says what is wrong");
    return 0;
  }
  for (const TensorInfo& tensor : parsed->tensors) {
    Promise(tensor.data.data() >= file.data() && tensor.data.data() + tensor.data.size() <= file.data() + size,
            "a tensor lies inside the file");
    const auto block = static_cast<uint64_t>(patella::engine::TypeBlock(tensor.type));
    if (tensor.data.empty()) continue;
    std::vector<float> values(block);
    patella::engine::Dequantize(tensor.type, tensor.data.data(), block, values.data());
  }
  return 0;
}
