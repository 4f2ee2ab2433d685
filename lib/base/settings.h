// A program's settings from one list: environment variable NAME and flag --name, of which the flag wins.
//
//   const std::vector<Setting> kSettings = {
//       {.name = "PORT", .type = SettingType::kInt, .fallback = "3000", .help = "port to listen on; 0: chosen by the
//       kernel", .max = 65535},
//       {.name = "MAX_INPUT_TOKENS", .type = SettingType::kInt, .help = "longest prompt, in tokens", .aliases =
//       {"MAX_INPUT_LENGTH"}},
//   };
//   absl::StatusOr<Settings> settings = Settings::Parse(kSettings, argc, argv);
//   if (settings->help_requested()) std::cout << SettingsHelp("patella-engine", "serves a model", kSettings);
//   const int port = settings->Int("PORT");
//
// Everything is checked in Parse: each wrong value is an InvalidArgument that names the setting, the value and the
// remedy. Thread-compatible: a value.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace patella {

enum class SettingType { kString, kInt, kBool };

struct Setting {
  std::string name;  // upper case with underscores: MAX_CONCURRENT_REQUESTS, flag --max-concurrent-requests
  SettingType type = SettingType::kString;
  std::string fallback;  // default value in the form a user would write; "" for numbers means "not set" (see Has)
  std::string help;      // one line, units included
  std::vector<std::string> aliases;  // further names, e.g. an older program's
  std::vector<std::string> choices;  // allowed values of a string; empty: any
  double min = 0;                    // smallest and largest number allowed
  double max = std::numeric_limits<double>::infinity();
  bool required = false;
};

class Settings {
 public:
  using Environment = std::function<const char*(const char* name)>;  // std::getenv, or a test's own

  // argv[0] is skipped. Flags: --name value, --name=value, and for a Bool --name alone. "--help" and "-h" set
  // help_requested() and skip the check for required settings. An unknown or repeated flag is an error, and so is a word
  // that belongs to none; an empty environment variable counts as not set.
  static absl::StatusOr<Settings> Parse(std::span<const Setting> list, int argc, const char* const* argv,
                                        const Environment& environment = {});

  // The value, which has been checked; asking for a name or type that is not in the list is a bug and aborts. Int and
  // Bool of a setting that is not set are 0 or false.
  const std::string& String(std::string_view name) const;
  int64_t Int(std::string_view name) const;
  bool Bool(std::string_view name) const;

  bool Has(std::string_view name) const;  // has a value, be it the default

  bool help_requested() const { return help_requested_; }

 private:
  struct Value {
    Setting setting;
    std::string text;
    bool from_flag = false;
  };

  const Value& Find(std::string_view name, const SettingType* type) const;
  absl::Status TakeEnvironment(const Environment& environment);
  absl::Status TakeFlags(int argc, const char* const* argv);
  absl::Status SetFlag(std::string_view flag, int& i, int argc, const char* const* argv);
  absl::Status CheckAll();

  std::vector<Value> values_;
  std::map<std::string, size_t, std::less<>> by_name_;  // names and aliases -> index in values_
  bool help_requested_ = false;
};

// The --help text: summary, then each setting with type, default and help.
std::string SettingsHelp(std::string_view program, std::string_view summary, std::span<const Setting> list);

// "MAX_INPUT_TOKENS" -> "--max-input-tokens".
std::string FlagOf(std::string_view name);

}  // namespace patella
