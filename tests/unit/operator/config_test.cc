#include "operator/app/config.h"

#include <gtest/gtest.h>

namespace patella::controller {
namespace {

Settings Parsed(const std::string& name, const std::string& value) {
  const std::string flag = "--" + name + "=" + value;
  const char* argv[] = {"patella-operator", flag.c_str()};
  auto settings = Settings::Parse(OperatorSettings(), 2, argv);
  EXPECT_TRUE(settings.ok()) << settings.status();
  return *settings;
}

TEST(OperatorConfigTest, AWrongSettingIsNamed) {
  EXPECT_TRUE(ParseConfig(Parsed("watch-namespaces", "models, staging")).ok());
  for (const auto& [name, value] : {std::pair<std::string, std::string>{"watch-namespaces", "Models"},
                                    {"admin", "8081"},
                                    {"admin", "0.0.0.0:70000"},
                                    {"host-model-dir", "models"}}) {
    const auto config = ParseConfig(Parsed(name, value));
    ASSERT_FALSE(config.ok()) << name;
    EXPECT_NE(std::string(config.status().message()).find(value), std::string::npos);
  }
}

}  // namespace
}  // namespace patella::controller
