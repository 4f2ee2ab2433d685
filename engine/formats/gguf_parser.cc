#include "engine/formats/gguf_parser.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_format.h"
#include "engine/formats/gguf_layout.h"
#include "lib/base/text.h"

namespace patella::engine {
namespace {

constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kMaxNameBytes = 65535;
constexpr std::string_view kDownloadAgain = "the file is cut short or damaged; download it again";

std::string HumanBytes(uint64_t bytes) {
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  int unit = 0;
  for (; value >= 1024 && unit < 5; ++unit) value /= 1024;
  return absl::StrFormat("%.1f %s", value, units[unit]);
}

// Keys and names come from the file: keep what is printable.
std::string Printable(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, 80)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out;
}

size_t ScalarBytes(uint32_t type) {
  switch (type) {
    case kGgufUint8:
    case kGgufInt8:
    case kGgufBool:
      return 1;
    case kGgufUint16:
    case kGgufInt16:
      return 2;
    case kGgufUint32:
    case kGgufInt32:
    case kGgufFloat32:
      return 4;
    case kGgufUint64:
    case kGgufInt64:
    case kGgufFloat64:
      return 8;
    default:
      return 0;
  }
}

bool IsFloat(uint32_t type) { return type == kGgufFloat32 || type == kGgufFloat64; }

class Parser {
 public:
  Parser(const std::string& name, std::span<const std::byte> bytes) : name_(name), bytes_(bytes) {}

  absl::StatusOr<GgufContents> Parse() {
    uint64_t tensor_count = 0;
    uint64_t key_count = 0;
    absl::Status status = Header(tensor_count, key_count);
    if (status.ok()) status = Metadata(key_count);
    if (status.ok()) status = TensorInfos(tensor_count);
    if (status.ok()) status = TensorData();
    if (!status.ok()) return status;
    return std::move(contents_);
  }

 private:
  template <typename... Parts>
  absl::Status Invalid(const Parts&... parts) const {
    return absl::InvalidArgumentError(StrCat(name_, ": ", parts...));
  }
  absl::Status EndsInside(std::string_view what) const {
    return Invalid("the file ends inside ", what, " at byte ", position_, " of ", bytes_.size(), ": ", kDownloadAgain);
  }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  bool Read(T& value) {
    if (remaining() < sizeof(T)) return false;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return true;
  }
  bool ReadString(std::string& text) {
    uint64_t length = 0;
    if (!Read(length) || length > remaining()) return false;
    text.assign(reinterpret_cast<const char*>(bytes_.data() + position_), length);
    position_ += length;
    return true;
  }

  absl::Status Header(uint64_t& tensor_count, uint64_t& key_count) {
    if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0) {
      return Invalid("not a GGUF file (it does not begin with \"GGUF\"): give the path of a .gguf model file");
    }
    position_ = 4;
    uint32_t version = 0;
    if (!Read(version)) return EndsInside("the header");
    if (version == 1 || version > 3) {
      const bool big_endian = version == 0x02000000 || version == 0x03000000;
      return Invalid(big_endian ? std::string("a big-endian GGUF file") : StrCat("GGUF version ", version),
                     " is not supported: convert the model to little-endian GGUF version 2 or 3");
    }
    if (version == 0) return Invalid("GGUF version 0 does not exist: ", kDownloadAgain);
    if (!Read(tensor_count) || !Read(key_count)) return EndsInside("the header");
    constexpr uint64_t kSmallestTensorInfo = 8 + 4 + 8 + 4 + 8;
    constexpr uint64_t kSmallestKey = 8 + 4 + 1;
    if (key_count > remaining() / kSmallestKey) {
      return Invalid("claims ", key_count, " metadata keys, more than its ", HumanBytes(bytes_.size()),
                     " can hold: ", kDownloadAgain);
    }
    if (tensor_count > remaining() / kSmallestTensorInfo) {
      return Invalid("claims ", tensor_count, " tensors, more than its ", HumanBytes(bytes_.size()),
                     " can hold: ", kDownloadAgain);
    }
    return absl::OkStatus();
  }

  absl::Status Metadata(uint64_t key_count) {
    for (uint64_t i = 0; i < key_count; ++i) {
      std::string key;
      uint32_t type = 0;
      if (!ReadString(key)) return EndsInside(StrCat("the name of metadata key ", i));
      if (key.empty() || key.size() > kMaxNameBytes) {
        return Invalid("metadata key ", i, " has a name of ", key.size(), " bytes: ", kDownloadAgain);
      }
      if (!Read(type)) return EndsInside(StrCat("metadata key ", Printable(key)));
      GgufValue value;
      if (absl::Status status = Value(key, type, value); !status.ok()) return status;
      if (!contents_.metadata.emplace(key, std::move(value)).second) {
        return Invalid("metadata key ", Printable(key), " occurs twice: ", kDownloadAgain);
      }
    }
    return absl::OkStatus();
  }

  absl::Status Value(std::string_view key, uint32_t type, GgufValue& value) {
    const std::string what = StrCat("metadata key ", Printable(key));
    if (type == kGgufArray) return Array(what, value, 0);
    if (type == kGgufString) {
      std::string text;
      if (!ReadString(text)) return EndsInside(what);
      value = std::move(text);
      return absl::OkStatus();
    }
    if (ScalarBytes(type) == 0) return Invalid(what, " has the unknown type ", type, ": ", kDownloadAgain);
    if (remaining() < ScalarBytes(type)) return EndsInside(what);
    if (IsFloat(type)) {
      value = ReadFloat(type);
    } else {
      uint64_t raw = 0;
      value = ReadInt(type, raw);
      // An unsigned value beyond int64_t is kept as a number, which no caller can mistake for a count.
      if (type == kGgufUint64 && raw > std::numeric_limits<int64_t>::max()) value = static_cast<double>(raw);
    }
    return absl::OkStatus();
  }

  // The caller has checked that the bytes are there.
  double ReadFloat(uint32_t type) {
    float narrow = 0;
    double wide = 0;
    if (type == kGgufFloat64) {
      Read(wide);
      return wide;
    }
    Read(narrow);
    return narrow;
  }

  template <typename T>
  int64_t ReadAs() {
    T value = 0;
    Read(value);
    return static_cast<int64_t>(value);
  }
  int64_t ReadInt(uint32_t type, uint64_t& raw) {
    switch (type) {
      case kGgufUint8:
        return ReadAs<uint8_t>();
      case kGgufInt8:
        return ReadAs<int8_t>();
      case kGgufBool:
        return ReadAs<uint8_t>() != 0 ? 1 : 0;
      case kGgufUint16:
        return ReadAs<uint16_t>();
      case kGgufInt16:
        return ReadAs<int16_t>();
      case kGgufUint32:
        return ReadAs<uint32_t>();
      case kGgufInt32:
        return ReadAs<int32_t>();
      default: {
        const int64_t value = ReadAs<int64_t>();
        raw = static_cast<uint64_t>(value);
        return value;
      }
    }
  }

  absl::Status Array(const std::string& what, GgufValue& value, int depth) {
    uint32_t type = 0;
    uint64_t count = 0;
    if (!Read(type) || !Read(count)) return EndsInside(what);
    const bool scalar = ScalarBytes(type) != 0;
    if (!scalar && type != kGgufString && type != kGgufArray) {
      return Invalid(what, " is an array of the unknown type ", type, ": ", kDownloadAgain);
    }
    const uint64_t smallest = scalar ? ScalarBytes(type) : type == kGgufString ? 8 : 12;
    if (count > remaining() / smallest) {
      return Invalid(what, " claims an array of ", count, " elements, but only ", HumanBytes(remaining()),
                     " are left in the file: ", kDownloadAgain);
    }
    if (type == kGgufArray) return NestedArray(what, count, depth);
    if (type == kGgufString) return StringArray(what, count, value);
    if (IsFloat(type)) {
      std::vector<float> floats(count);
      for (float& element : floats) element = static_cast<float>(ReadFloat(type));
      value = std::move(floats);
    } else {
      std::vector<int64_t> ints(count);
      uint64_t raw = 0;
      for (int64_t& element : ints) element = ReadInt(type, raw);
      value = std::move(ints);
    }
    return absl::OkStatus();
  }

  absl::Status NestedArray(const std::string& what, uint64_t count, int depth) {
    if (depth + 1 >= kMaxArrayDepth) {
      return Invalid(what, " nests arrays deeper than ", kMaxArrayDepth, ": ", kDownloadAgain);
    }
    GgufValue ignored;
    for (uint64_t i = 0; i < count; ++i) {
      if (absl::Status status = Array(what, ignored, depth + 1); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status StringArray(const std::string& what, uint64_t count, GgufValue& value) {
    std::vector<std::string> strings(count);
    for (std::string& element : strings) {
      if (!ReadString(element)) return EndsInside(what);
    }
    value = std::move(strings);
    return absl::OkStatus();
  }

  absl::Status TensorInfos(uint64_t tensor_count) {
    contents_.tensors.reserve(tensor_count);
    absl::flat_hash_map<std::string, int> seen;
    for (uint64_t i = 0; i < tensor_count; ++i) {
      TensorInfo tensor;
      if (!ReadString(tensor.name)) return EndsInside(StrCat("the name of tensor ", i));
      if (absl::Status status = TensorShape(tensor); !status.ok()) return status;
      if (!seen.emplace(tensor.name, 0).second) {
        return Invalid("tensor ", Printable(tensor.name), " occurs twice: ", kDownloadAgain);
      }
      contents_.tensors.push_back(std::move(tensor));
    }
    return absl::OkStatus();
  }

  absl::Status TensorShape(TensorInfo& tensor) {
    const std::string what = StrCat("tensor ", Printable(tensor.name));
    uint32_t rank = 0;
    if (!Read(rank)) return EndsInside(what);
    if (rank == 0 || rank > 4) return Invalid(what, " has ", rank, " dimensions, expected 1 to 4: ", kDownloadAgain);
    uint64_t count = 1;
    tensor.dims.resize(rank);
    for (uint64_t& dim : tensor.dims) {
      if (!Read(dim)) return EndsInside(what);
      // Below 2^56 elements the size in bytes cannot overflow either: no type takes more than 4 bytes an element.
      if (dim == 0 || __builtin_mul_overflow(count, dim, &count) || count > uint64_t{1} << 56) {
        return Invalid(what, " has an impossible shape (dimension ", dim, "): ", kDownloadAgain);
      }
    }
    uint32_t type = 0;
    uint64_t offset = 0;
    if (!Read(type) || !Read(offset)) return EndsInside(what);
    tensor.type = static_cast<TensorType>(type);
    if (TypeBytes(tensor.type, 32) == 0) {
      return absl::UnimplementedError(
          StrCat(name_, ": ", what, " has the unsupported type ", UnsupportedName(type),
                 "; supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: use a file in one of these"));
    }
    if (tensor.dims[0] % static_cast<uint64_t>(TypeBlock(tensor.type)) != 0) {
      return Invalid(what, " has rows of ", tensor.dims[0], " elements, not a multiple of the ", TypeName(tensor.type),
                     " block of ", TypeBlock(tensor.type), ": ", kDownloadAgain);
    }
    extents_.push_back({offset, TypeBytes(tensor.type, count), contents_.tensors.size()});
    return absl::OkStatus();
  }

  static std::string UnsupportedName(uint32_t type) {
    switch (type) {
      case 9:
        return "Q8_1";
      case 10:
        return "Q2_K";
      case 11:
        return "Q3_K";
      case 12:
        return "Q4_K";
      case 13:
        return "Q5_K";
      case 14:
        return "Q6_K";
      case 15:
        return "Q8_K";
      default:
        return StrCat("number ", type);
    }
  }

  absl::StatusOr<uint64_t> Alignment() const {
    const auto found = contents_.metadata.find("general.alignment");
    if (found == contents_.metadata.end()) return kGgufDefaultAlignment;
    const int64_t* value = std::get_if<int64_t>(&found->second);
    if (value == nullptr || *value <= 0 || *value > 1 << 20 || (*value & (*value - 1)) != 0) {
      return Invalid("general.alignment is not a power of two of at most 1 MiB: ", kDownloadAgain);
    }
    return static_cast<uint64_t>(*value);
  }

  absl::Status TensorData() {
    const absl::StatusOr<uint64_t> alignment = Alignment();
    if (!alignment.ok()) return alignment.status();
    const uint64_t start = AlignUp(position_, *alignment);
    for (const Extent& extent : extents_) {
      TensorInfo& tensor = contents_.tensors[extent.tensor];
      const std::string what = StrCat("tensor ", Printable(tensor.name));
      if (extent.offset % *alignment != 0) {
        return Invalid(what, " starts at offset ", extent.offset, ", not a multiple of the alignment ", *alignment,
                       ": ", kDownloadAgain);
      }
      const bool starts_inside = start <= bytes_.size() && extent.offset <= bytes_.size() - start;
      if (!starts_inside || extent.bytes > bytes_.size() - start - extent.offset) {
        return Invalid(what, " claims ", HumanBytes(extent.bytes), " at offset ", HumanBytes(extent.offset),
                       ", but the file is ", HumanBytes(bytes_.size()), ": the download is incomplete");
      }
      tensor.data = bytes_.subspan(start + extent.offset, extent.bytes);
    }
    return NoOverlap();
  }

  absl::Status NoOverlap() {
    std::sort(extents_.begin(), extents_.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
    for (size_t i = 1; i < extents_.size(); ++i) {
      if (extents_[i - 1].offset + extents_[i - 1].bytes > extents_[i].offset) {
        return Invalid("tensors ", Printable(contents_.tensors[extents_[i - 1].tensor].name), " and ",
                       Printable(contents_.tensors[extents_[i].tensor].name), " overlap: ", kDownloadAgain);
      }
    }
    return absl::OkStatus();
  }

  struct Extent {
    uint64_t offset;  // from the start of the tensor data
    uint64_t bytes;
    size_t tensor;
  };

  const std::string& name_;
  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
  GgufContents contents_;
  std::vector<Extent> extents_;
};

}  // namespace

absl::StatusOr<GgufContents> ParseGguf(const std::string& name, std::span<const std::byte> bytes) {
  return Parser(name, bytes).Parse();
}

}  // namespace patella::engine
