// docs/engine.md tells of every setting and every route.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "engine/serve/settings.h"

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
  for (const char* route :
       {"POST /generate", "POST /generate_stream", "POST /", "POST /invocations", "POST /v1/completions",
        "POST /v1/chat/completions", "POST /tokenize", "POST /chat_tokenize", "GET /info", "GET /v1/models",
        "GET /health", "GET /ping", "GET /metrics"})
    EXPECT_NE(docs.find("`" + std::string(route) + "`"), std::string::npos) << route;
}

}  // namespace
}  // namespace patella::engine
