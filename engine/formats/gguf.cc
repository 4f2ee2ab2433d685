#include "engine/formats/gguf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/formats/gguf_parser.h"
#include "lib/base/text.h"

namespace patella::engine {
namespace {

// A read-only mapping of a whole file; empty files map to nothing.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* address, size_t size) : address_(address), size_(size) {}
  Mapping(Mapping&& other) noexcept : address_(std::exchange(other.address_, nullptr)), size_(other.size_) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (address_ != nullptr) munmap(address_, size_);
  }
  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }

 private:
  void* address_ = nullptr;
  size_t size_ = 0;
};

absl::StatusOr<Mapping> MapFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT) return absl::NotFoundError(StrCat(path, ": no such file: check the path of the model"));
    return absl::InvalidArgumentError(StrCat(path, ": cannot be opened: ", strerror(errno)));
  }
  struct stat attributes = {};
  absl::Status status;
  void* address = nullptr;
  if (fstat(fd, &attributes) != 0 || !S_ISREG(attributes.st_mode)) {
    status = absl::InvalidArgumentError(StrCat(path, ": not a regular file: give the path of a .gguf model file"));
  } else if (attributes.st_size > 0) {
    address = mmap(nullptr, static_cast<size_t>(attributes.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED) {
      status = absl::ResourceExhaustedError(StrCat(path, ": cannot be mapped: ", strerror(errno)));
    }
  }
  close(fd);
  if (!status.ok()) return status;
  return Mapping(address, static_cast<size_t>(attributes.st_size));
}

class MappedGguf final : public GgufFile {
 public:
  MappedGguf(std::string path, Mapping mapping, GgufContents contents)
      : path_(std::move(path)), mapping_(std::move(mapping)), contents_(std::move(contents)) {
    for (size_t i = 0; i < contents_.tensors.size(); ++i) index_[contents_.tensors[i].name] = i;
  }

  bool Has(std::string_view key) const override { return contents_.metadata.contains(ToAbsl(key)); }

  absl::StatusOr<std::string> GetString(std::string_view key) const override {
    return Get<std::string>(key, "a string");
  }
  absl::StatusOr<int64_t> GetInt(std::string_view key) const override { return Get<int64_t>(key, "an integer"); }
  absl::StatusOr<double> GetFloat(std::string_view key) const override {
    if (const int64_t* value = Find<int64_t>(key)) return static_cast<double>(*value);
    return Get<double>(key, "a number");
  }
  absl::StatusOr<std::vector<std::string>> GetStrings(std::string_view key) const override {
    return Get<std::vector<std::string>>(key, "an array of strings");
  }
  absl::StatusOr<std::vector<int64_t>> GetInts(std::string_view key) const override {
    return Get<std::vector<int64_t>>(key, "an array of integers");
  }
  absl::StatusOr<std::vector<float>> GetFloats(std::string_view key) const override {
    if (const auto* values = Find<std::vector<int64_t>>(key)) return std::vector<float>(values->begin(), values->end());
    return Get<std::vector<float>>(key, "an array of numbers");
  }

  const TensorInfo* FindTensor(std::string_view name) const override {
    const auto found = index_.find(ToAbsl(name));
    return found == index_.end() ? nullptr : &contents_.tensors[found->second];
  }
  std::span<const TensorInfo> tensors() const override { return contents_.tensors; }
  const std::string& path() const override { return path_; }
  uint64_t file_size() const override { return mapping_.bytes().size(); }

 private:
  template <typename T>
  const T* Find(std::string_view key) const {
    const auto found = contents_.metadata.find(ToAbsl(key));
    return found == contents_.metadata.end() ? nullptr : std::get_if<T>(&found->second);
  }
  template <typename T>
  absl::StatusOr<T> Get(std::string_view key, std::string_view expected) const {
    if (const T* value = Find<T>(key)) return *value;
    if (Has(key)) return absl::InvalidArgumentError(StrCat(path_, ": metadata key ", key, " is not ", expected));
    return absl::NotFoundError(StrCat(path_, ": metadata key ", key, " is missing"));
  }

  const std::string path_;
  const Mapping mapping_;
  const GgufContents contents_;
  absl::flat_hash_map<std::string, size_t> index_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  absl::StatusOr<Mapping> mapping = MapFile(path);
  if (!mapping.ok()) return mapping.status();
  absl::StatusOr<GgufContents> contents = ParseGguf(path, mapping->bytes());
  if (!contents.ok()) return contents.status();
  return std::make_unique<MappedGguf>(path, *std::move(mapping), *std::move(contents));
}

}  // namespace patella::engine
