// A Report as text for people and as JSON for scripts.
#pragma once

#include <string>

#include "cli/report/report.h"

namespace patella::cli {

std::string ToText(const Report& report, bool colour);
std::string ToJson(const Report& report);  // one object, indented, ends with a newline

}  // namespace patella::cli
