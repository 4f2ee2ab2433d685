#include "lib/base/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace patella {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<Setting> kList = {
    {.name = "MODEL_ID", .help = "path of the model", .required = true},
    {.name = "PORT", .type = SettingType::kInt, .fallback = "3000", .help = "port to listen on", .max = 65535},
    {.name = "MAX_INPUT_TOKENS",
     .type = SettingType::kInt,
     .help = "longest prompt, in tokens",
     .aliases = {"MAX_INPUT_LENGTH"},
     .min = 1},
    {.name = "WORKERS", .type = SettingType::kInt, .fallback = "4", .help = "how many at once", .min = 1, .max = 64},
    {.name = "VERBOSE", .type = SettingType::kBool, .help = "says more"},
    {.name = "BACKEND", .fallback = "cpu", .help = "where to compute", .choices = {"cpu", "cuda"}},
};

absl::StatusOr<Settings> Parse(std::vector<const char*> flags, std::map<std::string, std::string> environment = {}) {
  flags.insert(flags.begin(), "program");
  return Settings::Parse(kList, static_cast<int>(flags.size()), flags.data(), [&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

std::string ErrorOf(std::vector<const char*> flags, std::map<std::string, std::string> environment = {}) {
  const auto settings = Parse(std::move(flags), std::move(environment));
  return settings.ok() ? "no error" : std::string(settings.status().message());
}

TEST(SettingsTest, TheFlagWinsOverTheEnvironmentAndThatOverTheDefault) {
  const auto settings = Parse({"--model-id", "m", "--port=80"}, {{"PORT", "90"}, {"WORKERS", "2"}, {"BACKEND", ""}});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->Int("PORT"), 80);
  EXPECT_EQ(settings->Int("WORKERS"), 2);
  EXPECT_EQ(settings->String("BACKEND"), "cpu");
  EXPECT_FALSE(settings->Has("MAX_INPUT_TOKENS"));
}

TEST(SettingsTest, AliasesMeanTheSameSetting) {
  EXPECT_EQ(Parse({"--model-id", "m"}, {{"MAX_INPUT_LENGTH", "7"}})->Int("MAX_INPUT_TOKENS"), 7);
  EXPECT_EQ(Parse({"--model-id", "m", "--max-input-length", "8"})->Int("MAX_INPUT_TOKENS"), 8);
  EXPECT_THAT(ErrorOf({"--model-id", "m"}, {{"MAX_INPUT_LENGTH", "7"}, {"MAX_INPUT_TOKENS", "8"}}),
              HasSubstr("differ"));
}

TEST(SettingsTest, BooleansNeedNoValue) {
  EXPECT_TRUE(Parse({"--verbose", "--model-id", "m"})->Bool("VERBOSE"));
  EXPECT_FALSE(Parse({"--verbose", "false", "--model-id", "m"})->Bool("VERBOSE"));
  EXPECT_THAT(ErrorOf({"--verbose", "word", "--model-id", "m"}), HasSubstr("'word' belongs to no flag"));
}

TEST(SettingsTest, ErrorsNameTheSettingAndTheRemedy) {
  EXPECT_EQ(ErrorOf({}), "MODEL_ID is missing (path of the model): set MODEL_ID or --model-id");
  EXPECT_EQ(ErrorOf({"--model-id", "m", "--port", "x1"}),
            "PORT: 'x1' is not a whole number from 0 to 65535: set PORT or --port");
  EXPECT_EQ(ErrorOf({"--model-id", "m", "--port", "65536"}),
            "PORT: '65536' is not a whole number from 0 to 65535: set PORT or --port");
  EXPECT_THAT(ErrorOf({"--model-id", "m"}, {{"MAX_INPUT_TOKENS", "0"}}), HasSubstr("a whole number of at least 1"));
  EXPECT_THAT(ErrorOf({"--model-id", "m", "--backend", "gpu"}), HasSubstr("one of cpu, cuda"));
  EXPECT_THAT(ErrorOf({"--model-id", "m", "--workers", "0"}), HasSubstr("a whole number from 1 to 64"));
  EXPECT_THAT(ErrorOf({"--no-such-flag"}), HasSubstr("--no-such-flag is not a flag"));
  EXPECT_THAT(ErrorOf({"--MODEL-ID", "m"}), HasSubstr("is not a flag"));
  EXPECT_THAT(ErrorOf({"-x"}), HasSubstr("-x is not a flag"));
  EXPECT_THAT(ErrorOf({"--port", "1", "--port", "2"}), HasSubstr("given twice"));
  EXPECT_THAT(ErrorOf({"--model-id"}), HasSubstr("needs a value"));
  EXPECT_THAT(ErrorOf({"--model-id", "--port", "1"}), HasSubstr("--model-id needs a value"));
}

TEST(SettingsTest, HelpNeedsNoRequiredSettingsAndListsAll) {
  const auto settings = Parse({"--help"});
  ASSERT_TRUE(settings.ok());
  EXPECT_TRUE(settings->help_requested());
  const std::string help = SettingsHelp("program", "does things", kList);
  for (const Setting& setting : kList) {
    EXPECT_THAT(help, HasSubstr(FlagOf(setting.name)));
    EXPECT_THAT(help, HasSubstr(setting.help));
  }
  EXPECT_THAT(help, HasSubstr("--port  PORT\n"));
  EXPECT_THAT(help, HasSubstr("--max-input-tokens, --max-input-length  MAX_INPUT_TOKENS, MAX_INPUT_LENGTH\n"));
}

TEST(SettingsDeathTest, AskingForWhatIsNotInTheListIsABug) {
  const auto settings = Parse({"--model-id", "m"});
  EXPECT_DEATH(settings->Int("NO_SUCH"), "no setting NO_SUCH");
  EXPECT_DEATH(settings->Int("MODEL_ID"), "no setting MODEL_ID of that type");
}

}  // namespace
}  // namespace patella
