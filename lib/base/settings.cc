#include "lib/base/settings.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella {
namespace {

std::string NameOfFlag(std::string_view flag) {
  std::string name = ToUpper(flag);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::string_view TypeName(SettingType type) {
  switch (type) {
    case SettingType::kString:
      return "text";
    case SettingType::kInt:
      return "whole number";
    case SettingType::kBool:
      return "true or false";
  }
  return "";
}

bool ParseBool(std::string_view text, bool* value) {
  const std::string lower = ToLower(text);
  if (lower == "true" || lower == "1" || lower == "yes" || lower == "on") return *value = true, true;
  if (lower == "false" || lower == "0" || lower == "no" || lower == "off") return *value = false, true;
  return false;
}

std::string RangeText(const Setting& setting) {
  if (std::isinf(setting.max)) return std::isinf(setting.min) ? "" : StrCat(" of at least ", setting.min);
  return StrCat(" from ", setting.min, " to ", setting.max);
}

std::string Expected(const Setting& setting) {
  if (!setting.choices.empty()) return StrCat("one of ", Join(setting.choices, ", "));
  if (setting.type == SettingType::kInt) return StrCat("a ", TypeName(setting.type), RangeText(setting));
  return std::string(TypeName(setting.type));
}

bool Fits(const Setting& setting, const std::string& text) {
  switch (setting.type) {
    case SettingType::kString: {
      if (setting.choices.empty()) return true;
      for (const std::string& choice : setting.choices) {
        if (choice == text) return true;
      }
      return false;
    }
    case SettingType::kInt: {
      int64_t value = 0;
      if (!ParseInt(text, &value)) return false;
      return static_cast<double>(value) >= setting.min && static_cast<double>(value) <= setting.max;
    }
    case SettingType::kBool: {
      bool value = false;
      return ParseBool(text, &value);
    }
  }
  return false;
}

absl::Status Check(const Setting& setting, const std::string& text, bool help_requested) {
  const std::string how = StrCat("set ", setting.name, " or ", FlagOf(setting.name));
  if (text.empty()) {
    if (!setting.required || help_requested) return absl::OkStatus();
    return absl::InvalidArgumentError(StrCat(setting.name, " is missing (", setting.help, "): ", how));
  }
  if (Fits(setting, text)) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(setting.name, ": '", text, "' is not ", Expected(setting), ": ", how));
}

}  // namespace

std::string FlagOf(std::string_view name) {
  std::string flag = ToLower(name);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return StrCat("--", flag);
}

absl::StatusOr<Settings> Settings::Parse(std::span<const Setting> list, int argc, const char* const* argv,
                                         const Environment& environment) {
  Settings settings;
  for (const Setting& setting : list) {
    const size_t index = settings.values_.size();
    settings.values_.push_back({setting, setting.fallback});
    settings.by_name_[setting.name] = index;
    for (const std::string& alias : setting.aliases) settings.by_name_[alias] = index;
  }
  PATELLA_RETURN_IF_ERROR(settings.TakeEnvironment(environment));
  PATELLA_RETURN_IF_ERROR(settings.TakeFlags(argc, argv));
  PATELLA_RETURN_IF_ERROR(settings.CheckAll());
  return settings;
}

absl::Status Settings::TakeEnvironment(const Environment& environment) {
  const auto lookup = [&](const std::string& name) {
    return environment ? environment(name.c_str()) : std::getenv(name.c_str());
  };
  for (Value& value : values_) {
    std::vector<std::string> names = {value.setting.name};
    names.insert(names.end(), value.setting.aliases.begin(), value.setting.aliases.end());
    std::string taken_from;
    for (const std::string& name : names) {
      const char* text = lookup(name);
      if (text == nullptr || *text == '\0') continue;
      if (!taken_from.empty() && value.text != text) {
        return absl::InvalidArgumentError(
            StrCat(taken_from, " and ", name, " mean the same setting but differ: unset one of them"));
      }
      value.text = text;
      taken_from = name;
    }
  }
  return absl::OkStatus();
}

absl::Status Settings::TakeFlags(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      help_requested_ = true;
    } else if (argument.starts_with("--")) {
      PATELLA_RETURN_IF_ERROR(SetFlag(argument.substr(2), i, argc, argv));
    } else if (argument.size() > 1 && argument[0] == '-') {
      return absl::InvalidArgumentError(StrCat(argument, " is not a flag of this program: see --help"));
    } else {
      return absl::InvalidArgumentError(StrCat("'", argument, "' belongs to no flag: see --help"));
    }
  }
  return absl::OkStatus();
}

absl::Status Settings::SetFlag(std::string_view flag, int& i, int argc, const char* const* argv) {
  const size_t equals = flag.find('=');
  const std::string_view name = flag.substr(0, equals);
  const auto found = by_name_.find(NameOfFlag(name));
  if (found == by_name_.end() || ToLower(name) != name) {
    return absl::InvalidArgumentError(StrCat("--", name, " is not a flag of this program: see --help"));
  }
  Value& value = values_[found->second];
  if (value.from_flag) return absl::InvalidArgumentError(StrCat("--", name, " is given twice: keep one"));
  value.from_flag = true;
  if (equals != std::string_view::npos) {
    value.text = std::string(flag.substr(equals + 1));
    return absl::OkStatus();
  }
  const bool has_next = i + 1 < argc && !std::string_view(argv[i + 1]).starts_with("--");
  if (value.setting.type == SettingType::kBool) {
    bool ignored = false;
    value.text = has_next && ParseBool(argv[i + 1], &ignored) ? argv[++i] : "true";
    return absl::OkStatus();
  }
  if (!has_next) return absl::InvalidArgumentError(StrCat("--", name, " needs a value: ", Expected(value.setting)));
  value.text = argv[++i];
  return absl::OkStatus();
}

absl::Status Settings::CheckAll() {
  for (const Value& value : values_) PATELLA_RETURN_IF_ERROR(Check(value.setting, value.text, help_requested_));
  return absl::OkStatus();
}

const Settings::Value& Settings::Find(std::string_view name, const SettingType* type) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end() || (type != nullptr && values_[found->second].setting.type != *type)) {
    std::fprintf(stderr, "bug: no setting %.*s of that type\n", static_cast<int>(name.size()), name.data());
    std::abort();
  }
  return values_[found->second];
}

const std::string& Settings::String(std::string_view name) const {
  static constexpr SettingType kType = SettingType::kString;
  return Find(name, &kType).text;
}

int64_t Settings::Int(std::string_view name) const {
  static constexpr SettingType kType = SettingType::kInt;
  int64_t value = 0;
  return ParseInt(Find(name, &kType).text, &value) ? value : 0;
}

bool Settings::Bool(std::string_view name) const {
  static constexpr SettingType kType = SettingType::kBool;
  bool value = false;
  return ParseBool(Find(name, &kType).text, &value) && value;
}

bool Settings::Has(std::string_view name) const { return !Find(name, nullptr).text.empty(); }

std::string SettingsHelp(std::string_view program, std::string_view summary, std::span<const Setting> list) {
  std::string text =
      StrCat(program, ": ", summary, "\n\nSettings: flag or environment variable, of which the flag wins.\n\n");
  for (const Setting& setting : list) {
    std::string flags = FlagOf(setting.name), names = setting.name;
    for (const std::string& alias : setting.aliases) {
      StrAppend(&flags, ", ", FlagOf(alias));
      StrAppend(&names, ", ", alias);
    }
    StrAppend(&text, "  ", flags, "  ", names);
    StrAppend(&text, "\n      ", setting.help, "\n      ", Expected(setting));
    if (setting.required) StrAppend(&text, "; required");
    if (!setting.fallback.empty()) StrAppend(&text, "; default ", setting.fallback);
    text += "\n";
  }
  StrAppend(&text, "  --help\n      this text\n");
  return text;
}

}  // namespace patella
