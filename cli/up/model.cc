#include "cli/up/model.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "lib/base/text.h"

namespace patella::cli {
namespace {

namespace fs = std::filesystem;

absl::Status CheckGguf(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  file.read(magic, sizeof magic);
  if (!file && file.gcount() == 0 && !file.eof())
    return absl::InvalidArgumentError(StrCat(path.string(), ": cannot be read"));
  if (std::string_view(magic, sizeof magic) == "GGUF") return absl::OkStatus();
  std::error_code ignored;
  return absl::InvalidArgumentError(
      StrCat(path.string(), ": is not a GGUF file (", fs::file_size(path, ignored),
             " bytes, and it does not begin with \"GGUF\"): spec.model.uri must name a .gguf model"));
}

}  // namespace

std::string CacheFolder() {
  if (const char* cache = std::getenv("PATELLA_CACHE"); cache != nullptr && *cache != '\0') return cache;
  const char* home = std::getenv("HOME");
  return StrCat(home != nullptr ? home : "", "/.cache/patella");
}

absl::StatusOr<std::string> ResolveModel(std::string_view uri, const std::string& yaml_path) {
  if (!uri.starts_with("file://")) {
    return absl::InvalidArgumentError(
        StrCat("spec.model.uri: ", uri, " needs a cluster; locally use file:// with a .gguf file"));
  }
  const std::string path(uri.substr(7));
  const fs::path beside = fs::path(yaml_path).parent_path() / path;
  const bool bare = path.find('/') == std::string::npos;
  fs::path file = fs::path(path).is_absolute() ? fs::path(path) : beside;
  if (bare) {
    const fs::path cached = fs::path(CacheFolder()) / "models" / path;
    if (fs::exists(cached) || !fs::exists(beside)) file = cached;
  }
  std::error_code error;
  if (fs::is_directory(file, error))
    return absl::InvalidArgumentError(StrCat(file.string(), ": is a folder; spec.model.uri must name a .gguf file"));
  if (!fs::exists(file, error)) {
    return absl::NotFoundError(
        StrCat(file.string(),
               ": the model is not there: run tools/fetch_model.sh for the sample's, or correct spec.model.uri"));
  }
  if (absl::Status status = CheckGguf(file); !status.ok()) return status;
  return fs::absolute(file).lexically_normal().string();
}

}  // namespace patella::cli
