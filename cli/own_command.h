// Where this program lies, and how it is called in the commands that it prints to be pasted.
#pragma once

#include <filesystem>
#include <string>

namespace patella::cli {

std::filesystem::path OwnProgram();  // empty if the kernel does not tell

// "patella" where PATH leads to this very file, else its path, relative to the current folder where it lies within.
std::string OwnCommand();

}  // namespace patella::cli
