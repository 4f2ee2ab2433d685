#include "engine/formats/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <random>

#include "engine/formats/gguf_parser.h"
#include "engine/formats/gguf_writer.h"

namespace patella::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr TensorType kAllTypes[] = {TensorType::kF32,  TensorType::kF16,  TensorType::kBF16, TensorType::kQ4_0,
                                    TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1, TensorType::kQ8_0};

std::vector<float> Ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = std::sin(static_cast<float>(i) * 0.7f);
  return values;
}

GgufWriter SmallModel() {
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  writer.SetUint32("llama.block_count", 2);
  writer.SetInt64("a.long", -5);
  writer.SetFloat("llama.rope.freq_base", 10000.0f);
  writer.SetBool("tokenizer.ggml.add_bos_token", true);
  const std::vector<std::string> tokens = {"a", "", "bc"};
  writer.SetStrings("tokenizer.ggml.tokens", tokens);
  const std::vector<int32_t> kinds = {1, 3, -1};
  writer.SetInts("tokenizer.ggml.token_type", kinds);
  const std::vector<float> scores = {0.5f, -1.0f, 2.0f};
  writer.SetFloats("tokenizer.ggml.scores", scores);
  writer.AddFloats("token_embd.weight", TensorType::kQ4_1, {64, 3}, Ramp(192));
  writer.AddFloats("output_norm.weight", TensorType::kF32, {5}, Ramp(5));
  writer.AddFloats("blk.0.attn_q.weight", TensorType::kQ8_0, {32, 2}, Ramp(64));
  return writer;
}

absl::StatusOr<GgufContents> Parse(const std::string& bytes) {
  return ParseGguf("tiny.gguf", {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
}

std::string ParseError(const std::string& bytes) { return std::string(Parse(bytes).status().message()); }

class TempFile {
 public:
  explicit TempFile(const std::string& bytes)
      : path_(testing::TempDir() + "/gguf_test_" + std::to_string(getpid()) + ".gguf") {
    std::ofstream(path_, std::ios::binary) << bytes;
  }
  ~TempFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

template <typename T>
std::string Raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
std::string Str(const std::string& text) { return Raw<uint64_t>(text.size()) + text; }
std::string Header(uint64_t tensors, uint64_t keys) { return "GGUF" + Raw<uint32_t>(3) + Raw(tensors) + Raw(keys); }

TEST(GgufTest, WhatTheWriterWroteIsReadBack) {
  const TempFile file(SmallModel().Bytes());
  const auto gguf = GgufFile::Open(file.path());
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  const GgufFile& model = **gguf;
  EXPECT_EQ(*model.GetString("general.architecture"), "llama");
  EXPECT_EQ(*model.GetInt("llama.block_count"), 2);
  EXPECT_EQ(*model.GetInt("a.long"), -5);
  EXPECT_EQ(*model.GetInt("tokenizer.ggml.add_bos_token"), 1);
  EXPECT_EQ(*model.GetFloat("llama.rope.freq_base"), 10000.0);
  EXPECT_EQ(*model.GetFloat("llama.block_count"), 2.0);
  EXPECT_THAT(*model.GetStrings("tokenizer.ggml.tokens"), ElementsAre("a", "", "bc"));
  EXPECT_THAT(*model.GetInts("tokenizer.ggml.token_type"), ElementsAre(1, 3, -1));
  EXPECT_THAT(*model.GetFloats("tokenizer.ggml.scores"), ElementsAre(0.5f, -1.0f, 2.0f));
  ASSERT_EQ(model.tensors().size(), 3u);
  const TensorInfo* const norm = model.FindTensor("output_norm.weight");
  ASSERT_NE(norm, nullptr);
  EXPECT_THAT(norm->dims, ElementsAre(5));
  std::vector<float> values(5);
  Dequantize(norm->type, norm->data.data(), 5, values.data());
  EXPECT_EQ(values, Ramp(5));
  EXPECT_EQ(model.FindTensor("token_embd.weight")->data.size(), 6u * 20);
  EXPECT_EQ(model.FindTensor("absent"), nullptr);
}

TEST(GgufTest, AbsentKeysAndOtherTypesAreToldApart) {
  const TempFile file(SmallModel().Bytes());
  const auto gguf = GgufFile::Open(file.path());
  ASSERT_TRUE(gguf.ok());
  EXPECT_EQ((*gguf)->GetInt("absent").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ((*gguf)->GetInt("general.architecture").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*gguf)->GetString("llama.block_count").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(GgufTest, AFileThatIsNotThereIsNotFound) {
  EXPECT_EQ(GgufFile::Open("/nonexistent/model.gguf").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GgufFile::Open("/").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(GgufTest, EveryTruncationFailsWithAMessage) {
  const std::string whole = SmallModel().Bytes();
  ASSERT_TRUE(Parse(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    // A copy on the heap of exactly this size, so that the sanitizer sees any read beyond it.
    const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    const auto parsed = ParseGguf("tiny.gguf", {reinterpret_cast<const std::byte*>(cut.data()), cut.size()});
    ASSERT_FALSE(parsed.ok()) << size;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("tiny.gguf: ")) << size;
  }
  const TempFile file(whole.substr(0, whole.size() - 1));
  EXPECT_THAT(std::string(GgufFile::Open(file.path()).status().message()), HasSubstr("the download is incomplete"));
  const TempFile empty("");
  EXPECT_THAT(std::string(GgufFile::Open(empty.path()).status().message()), HasSubstr("not a GGUF file"));
}

TEST(GgufTest, NoSingleCorruptedByteCrashesTheReader) {
  const std::string whole = SmallModel().Bytes();
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::vector<char> damaged(whole.begin(), whole.end());
      damaged[at] = static_cast<char>(value);
      const auto parsed = ParseGguf("tiny.gguf", {reinterpret_cast<const std::byte*>(damaged.data()), damaged.size()});
      if (!parsed.ok()) continue;
      for (const TensorInfo& tensor : parsed->tensors) {
        const std::byte* const end = reinterpret_cast<const std::byte*>(damaged.data()) + damaged.size();
        EXPECT_LE(tensor.data.data() + tensor.data.size(), end);
      }
    }
  }
}

TEST(GgufTest, RandomDamageNeverCrashesTheReader) {
  const std::string whole = SmallModel().Bytes();
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole;
    for (int i = 0; i < 4; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    (void)Parse(damaged);
  }
}

TEST(GgufTest, ErrorsNameWhatIsWrongAndWhatToDo) {
  const std::string tensor_end = Raw<uint32_t>(0) + Raw<uint64_t>(0);  // F32 at offset 0
  const auto tensor = [&](uint32_t rank, const std::string& rest) {
    return Header(1, 0) + Str("w") + Raw(rank) + rest + std::string(64, '\0');
  };
  EXPECT_THAT(ParseError("PK\3\4 something else entirely"), HasSubstr("not a GGUF file"));
  EXPECT_THAT(ParseError("GGUF" + Raw<uint32_t>(9) + std::string(16, '\0')), HasSubstr("version 9"));
  EXPECT_THAT(ParseError("GGUF" + Raw<uint32_t>(0x03000000) + std::string(16, '\0')), HasSubstr("big-endian"));
  EXPECT_THAT(ParseError(Header(~uint64_t{0}, 0)), HasSubstr("tensors, more than"));
  EXPECT_THAT(ParseError(Header(0, ~uint64_t{0})), HasSubstr("metadata keys, more than"));
  EXPECT_THAT(ParseError(Header(0, 1) + Raw(~uint64_t{0}) + std::string(32, 'x')), HasSubstr("ends inside"));
  EXPECT_THAT(ParseError(Header(0, 1) + Str("k") + Raw<uint32_t>(9) + Raw<uint32_t>(4) + Raw(uint64_t{1} << 62)),
              HasSubstr("array of 4611686018427387904 elements"));
  EXPECT_THAT(ParseError(Header(0, 1) + Str("k") + Raw<uint32_t>(77) + std::string(8, '\0')),
              HasSubstr("unknown type 77"));
  EXPECT_THAT(ParseError(tensor(5, std::string(64, '\1'))), HasSubstr("5 dimensions"));
  EXPECT_THAT(ParseError(tensor(1, Raw<uint64_t>(0) + tensor_end)), HasSubstr("impossible shape"));
  EXPECT_THAT(ParseError(tensor(2, Raw(uint64_t{1} << 40) + Raw(uint64_t{1} << 40) + tensor_end)),
              HasSubstr("impossible shape"));
  EXPECT_THAT(ParseError(tensor(1, Raw(uint64_t{1} << 30) + tensor_end)),
              HasSubstr("tensor w claims 4.0 GiB at offset 0 B"));
  EXPECT_THAT(ParseError(tensor(1, Raw<uint64_t>(1) + Raw<uint32_t>(0) + Raw<uint64_t>(7))), HasSubstr("alignment"));
  EXPECT_THAT(ParseError(tensor(1, Raw<uint64_t>(1) + Raw<uint32_t>(0) + Raw(~uint64_t{31}))), HasSubstr("incomplete"));
  EXPECT_THAT(ParseError(tensor(1, Raw<uint64_t>(33) + Raw<uint32_t>(2) + Raw<uint64_t>(0))), HasSubstr("block of 32"));
}

TEST(GgufTest, DeeplyNestedArraysAreRefusedWithoutRecursion) {
  std::string bytes = Header(0, 1) + Str("k") + Raw<uint32_t>(9);
  for (int i = 0; i < 10000; ++i) bytes += Raw<uint32_t>(9) + Raw<uint64_t>(1);
  EXPECT_THAT(ParseError(bytes), HasSubstr("deeper"));
}

TEST(GgufTest, AlignmentMustBeAPowerOfTwo) {
  GgufWriter writer;
  writer.SetUint32("general.alignment", 48);
  writer.AddFloats("w", TensorType::kF32, {4}, Ramp(4));
  EXPECT_THAT(ParseError(writer.Bytes()), HasSubstr("power of two"));
}

TEST(GgufTest, TensorsMayNotOverlap) {
  const std::string infos = Str("a") + Raw<uint32_t>(1) + Raw<uint64_t>(9) + Raw<uint32_t>(0) + Raw<uint64_t>(0) +  //
                            Str("b") + Raw<uint32_t>(1) + Raw<uint64_t>(9) + Raw<uint32_t>(0) + Raw<uint64_t>(32);
  EXPECT_THAT(ParseError(Header(2, 0) + infos + std::string(256, '\0')), HasSubstr("tensors a and b overlap"));
}

TEST(GgufTest, UnsupportedTensorTypesAreNamed) {
  GgufWriter writer;
  writer.AddTensor("blk.0.ffn_up.weight", static_cast<TensorType>(12), {256}, std::vector<std::byte>(144));
  const auto parsed = Parse(writer.Bytes());
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("blk.0.ffn_up.weight has the unsupported type Q4_K"));
}

TEST(TensorTypesTest, DequantizeUndoesQuantizeUpToTheStep) {
  const std::vector<float> values = Ramp(256);
  for (TensorType type : kAllTypes) {
    const std::vector<std::byte> packed = Quantize(type, values);
    ASSERT_EQ(packed.size(), TypeBytes(type, values.size())) << TypeName(type);
    std::vector<float> back(values.size());
    Dequantize(type, packed.data(), values.size(), back.data());
    const bool four_bits = type == TensorType::kQ4_0 || type == TensorType::kQ4_1;
    const bool five_bits = type == TensorType::kQ5_0 || type == TensorType::kQ5_1;
    const float step = four_bits ? 0.135f : five_bits ? 0.067f : type == TensorType::kF32 ? 0.0f : 0.005f;
    for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(back[i], values[i], step) << TypeName(type) << " " << i;
  }
}

TEST(TensorTypesTest, BlocksMeanWhatTheFormatSays) {
  // d = 0.5, m = −1; byte i holds i in the low and 15 − i in the high nibble; fifth bits set for elements 0 and 31.
  const std::string d("\x00\x38", 2), m("\x00\xbc", 2), fifth("\x01\x00\x00\x80", 4);
  std::string nibbles;
  for (int i = 0; i < 16; ++i) nibbles += static_cast<char>(i | (15 - i) << 4);
  const auto decode = [](TensorType type, const std::string& block) {
    std::vector<float> out(32);
    EXPECT_EQ(block.size(), TypeBytes(type, 32));
    Dequantize(type, reinterpret_cast<const std::byte*>(block.data()), 32, out.data());
    return out;
  };
  EXPECT_EQ(decode(TensorType::kQ4_0, d + nibbles)[3], 0.5f * (3 - 8));
  EXPECT_EQ(decode(TensorType::kQ4_0, d + nibbles)[16], 0.5f * (15 - 8));
  EXPECT_EQ(decode(TensorType::kQ4_1, d + m + nibbles)[18], 0.5f * 13 - 1);
  EXPECT_EQ(decode(TensorType::kQ5_0, d + fifth + nibbles)[0], 0.5f * (16 - 16));
  EXPECT_EQ(decode(TensorType::kQ5_0, d + fifth + nibbles)[1], 0.5f * (1 - 16));
  EXPECT_EQ(decode(TensorType::kQ5_1, d + m + fifth + nibbles)[31], 0.5f * 16 - 1);
}

TEST(TensorTypesTest, HalvesCoverSubnormalsAndInfinity) {
  const uint16_t halves[] = {0x0001, 0x8000, 0x7c00, 0x3c00, 0x7bff};
  float out[5];
  Dequantize(TensorType::kF16, reinterpret_cast<const std::byte*>(halves), 5, out);
  EXPECT_EQ(out[0], 0x1p-24f);
  EXPECT_TRUE(std::signbit(out[1]) && out[1] == 0.0f);
  EXPECT_TRUE(std::isinf(out[2]));
  EXPECT_EQ(out[3], 1.0f);
  EXPECT_EQ(out[4], 65504.0f);
}

}  // namespace
}  // namespace patella::engine
