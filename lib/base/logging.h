// Structured logs on stderr: one event a line, `2026-11-24T01:02:03.004Z info listening address=127.0.0.1:8080
// tls=false`.
//
// The level comes from LOG_LEVEL (trace, debug, info, warn, error, off; default info). Values with spaces or quotes are
// quoted; line breaks and control characters are escaped, so that a client cannot forge a line. Never log a secret.
// Thread-safe.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace patella {

struct LogField {
  template <typename T>
  requires std::is_arithmetic_v<T> LogField(std::string_view k, T v) : key(k), value(Format(v)) {}
  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const char* v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(v) {}
  LogField(std::string_view k, const absl::Status& v)
      : key(k), value(v.ToString(absl::StatusToStringMode::kWithNoExtraData)) {}

  std::string_view key;
  std::string value;

 private:
  template <typename T>
  static std::string Format(T v) {
    if constexpr (std::same_as<T, bool>) {
      return v ? "true" : "false";
    } else {
      return absl::StrCat(v);
    }
  }
};

using LogFields = std::initializer_list<LogField>;

// Sets the level; call once at the start of main. Unknown levels are InvalidArgument and leave the level as it was.
absl::Status SetLogLevel(std::string_view level);

void LogDebug(std::string_view event, LogFields fields = {});
void LogInfo(std::string_view event, LogFields fields = {});
void LogWarning(std::string_view event, LogFields fields = {});  // has a consequence and an action
void LogError(std::string_view event, LogFields fields = {});    // says what, why and how to fix it

// The line without time and level: "event key=value …". Exposed for tests.
std::string FormatLogLine(std::string_view event, LogFields fields);

}  // namespace patella
