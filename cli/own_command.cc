#include "cli/own_command.h"

#include <cstdlib>
#include <filesystem>

#include "lib/base/text.h"

namespace patella::cli {

namespace fs = std::filesystem;

fs::path OwnProgram() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error);  // empty with an error
}

std::string OwnCommand() {
  const fs::path self = OwnProgram();
  if (self.empty()) return "patella";
  std::error_code error;
  const char* path = std::getenv("PATH");
  for (const std::string_view folder : Split(path == nullptr ? "" : path, ':')) {
    if (fs::equivalent(fs::path(folder) / self.filename(), self, error)) return self.filename().string();
  }
  const fs::path relative = self.lexically_relative(fs::current_path(error));
  return relative.empty() || *relative.begin() == ".." ? self.string() : relative.string();
}

}  // namespace patella::cli
