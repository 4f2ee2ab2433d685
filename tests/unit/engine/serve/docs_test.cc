// docs/engine.md tells of every setting and every route.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "engine/serve/routes.h"
#include "engine/serve/settings.h"
#include "lib/base/text.h"

namespace patella::engine {
namespace {

std::string Docs() {
  std::ifstream in(PATELLA_ENGINE_DOCS);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TEST(EngineDocsTest, EverySettingIsThere) {
  const std::string docs = Docs();
  for (const Setting& setting : EngineSettings()) EXPECT_NE(docs.find(setting.name), std::string::npos) << setting.name;
}

TEST(EngineSettingsTest, KnowsTheOtherNamesThatTgiAndSageMakerUse) {
  const auto parsed = [](const char* flag, const char* name, const char* value) {
    const char* const argv[] = {"patella-engine", "--model-id", "m", flag, value};
    const auto settings = Settings::Parse(EngineSettings(), 5, argv, [](const char*) { return nullptr; });
    return settings.ok() ? settings->Int(name) : -1;
  };
  EXPECT_EQ(parsed("--max-input-length", "MAX_INPUT_TOKENS", "77"), 77);
  EXPECT_EQ(parsed("--sm-num-gpus", "NUM_SHARD", "1"), 1);
}

TEST(EngineDocsTest, EveryRouteIsThere) {
  const std::string docs = Docs();
  for (const HttpRoute& route : HttpRoutes()) {
    const std::string entry = StrCat("`", route.method, " ", route.path, "`");
    EXPECT_NE(docs.find(entry), std::string::npos) << entry;
  }
}

}  // namespace
}  // namespace patella::engine
