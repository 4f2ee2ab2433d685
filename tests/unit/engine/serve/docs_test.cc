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

TEST(EngineDocsTest, EveryRouteIsThere) {
  const std::string docs = Docs();
  for (const HttpRoute& route : HttpRoutes()) {
    const std::string entry = StrCat("`", route.method, " ", route.path, "`");
    EXPECT_NE(docs.find(entry), std::string::npos) << entry;
  }
}

}  // namespace
}  // namespace patella::engine
