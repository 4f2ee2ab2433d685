#include "lib/base/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>

#include "absl/status/statusor.h"
#include "lib/base/text.h"

namespace patella {
namespace {

absl::StatusOr<spdlog::level::level_enum> ParseLevel(std::string_view text) {
  if (text == "trace") return spdlog::level::trace;
  if (text == "debug") return spdlog::level::debug;
  if (text == "info" || text.empty()) return spdlog::level::info;
  if (text == "warn" || text == "warning") return spdlog::level::warn;
  if (text == "error") return spdlog::level::err;
  if (text == "off") return spdlog::level::off;
  return absl::InvalidArgumentError(
      StrCat("LOG_LEVEL: '", text, "' is not a level: use trace, debug, info, warn, error or off"));
}

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("patella", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v", spdlog::pattern_time_type::utc);
    made->flush_on(spdlog::level::trace);
    const char* level = std::getenv("LOG_LEVEL");
    made->set_level(ParseLevel(level == nullptr ? "" : level).value_or(spdlog::level::info));
    return made;
  }();
  return *logger;
}

bool NeedsQuotes(std::string_view value) {
  if (value.empty()) return true;
  for (const unsigned char c : value) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return true;
  }
  return false;
}

void AppendEscaped(std::string_view value, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
}

void Log(spdlog::level::level_enum level, std::string_view event, LogFields fields) {
  spdlog::logger& logger = Logger();
  if (!logger.should_log(level)) return;
  const std::string line = FormatLogLine(event, fields);
  logger.log(level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

absl::Status SetLogLevel(std::string_view level) {
  const absl::StatusOr<spdlog::level::level_enum> parsed = ParseLevel(level);
  if (!parsed.ok()) return parsed.status();
  Logger().set_level(*parsed);
  return absl::OkStatus();
}

void LogDebug(std::string_view event, LogFields fields) { Log(spdlog::level::debug, event, fields); }
void LogInfo(std::string_view event, LogFields fields) { Log(spdlog::level::info, event, fields); }
void LogWarning(std::string_view event, LogFields fields) { Log(spdlog::level::warn, event, fields); }
void LogError(std::string_view event, LogFields fields) { Log(spdlog::level::err, event, fields); }

std::string FormatLogLine(std::string_view event, LogFields fields) {
  std::string line;
  AppendEscaped(event, line);
  for (const LogField& field : fields) {
    StrAppend(&line, " ", field.key, "=");
    const bool quoted = NeedsQuotes(field.value);
    if (quoted) line += '"';
    AppendEscaped(field.value, line);
    if (quoted) line += '"';
  }
  return line;
}

}  // namespace patella
