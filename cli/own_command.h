// How this program is called in the commands that it prints to be pasted.
#pragma once

#include <string>

namespace patella::cli {

// "patella" where PATH leads to this very file, else its path, relative to the current folder where it lies within.
std::string OwnCommand();

}  // namespace patella::cli
