// Any bytes as a GGUF file: the parser must give contents whose tensors lie inside the bytes, or an error.
#include <cstdlib>

#include "engine/formats/gguf_parser.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(bytes), size);
  const auto parsed = patella::engine::ParseGguf("fuzz.gguf", file);
  if (!parsed.ok()) return 0;
  for (const patella::engine::TensorInfo& tensor : parsed->tensors) {
    const bool inside =
        tensor.data.data() >= file.data() && tensor.data.data() + tensor.data.size() <= file.data() + size;
    if (!inside) std::abort();
  }
  return 0;
}
