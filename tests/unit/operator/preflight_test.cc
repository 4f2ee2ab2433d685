#include "operator/app/preflight.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "operator/app/config.h"

namespace patella::controller {
namespace {

using nlohmann::json;

json Fields(std::initializer_list<const char*> names) {
  json properties = json::object();
  for (const char* name : names) properties[name] = {{"type", "string"}};
  return {{"type", "object"}, {"properties", properties}};
}

// The part of the API server's OpenAPI document that matters.
json Document() {
  json spec = Fields({"updatePolicy"});
  spec["properties"]["model"] = Fields({"uri"});
  spec["properties"]["hardware"] = Fields({"maxAccelerators"});
  spec["properties"]["scaling"] = Fields({"maxReplicas"});
  spec["properties"]["drain"] = Fields({"maxSeconds"});
  spec["properties"]["pod"] = Fields({"resources"});
  const json status = Fields({"conditions", "revisions", "selector", "replicaSummary"});
  const json kind = {{"properties", {{"spec", spec}, {"status", {{"allOf", json::array({status})}}}}}};
  return {{"components", {{"schemas", {{"dev.patella.v1alpha1.InferenceDeployment", kind}}}}}};
}

TEST(PreflightTest, AWholeSchemaLacksNothing) {
  EXPECT_EQ(MissingFields(Document().dump()), std::vector<std::string>());
}

TEST(PreflightTest, AnOlderSchemaIsToldByTheFieldsThatItLacks) {
  json document = Document();
  json& properties = document["components"]["schemas"]["dev.patella.v1alpha1.InferenceDeployment"]["properties"];
  properties["spec"]["properties"].erase("updatePolicy");
  properties["status"]["allOf"][0]["properties"].erase("revisions");
  EXPECT_EQ(MissingFields(document.dump()), (std::vector<std::string>{"spec.updatePolicy", "status.revisions"}));
}

TEST(PreflightTest, ADocumentWithoutTheKindLacksIt) { EXPECT_FALSE(MissingFields("{}").empty()); }

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
