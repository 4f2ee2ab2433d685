// Definitions of a cluster against those of this program. tests/integration asks a real API server.
#include "lib/api/schema_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <functional>
#include <nlohmann/json.hpp>

namespace patella::api {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

Json FromYaml(const YAML::Node& node) {
  if (node.IsMap()) {
    Json map = Json::object();
    for (const auto& field : node) map[field.first.Scalar()] = FromYaml(field.second);
    return map;
  }
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const auto& item : node) list.push_back(FromYaml(item));
    return list;
  }
  return node.Scalar();
}

// What a server with deploy/crds answers, after `change` of the schemas.
std::string Answer(const std::function<void(Json& schemas)>& change = [](Json&) {}) {
  Json schemas;
  for (const char* plural : {"inferencedeployments", "acceleratorclasses", "servingcurves"}) {
    const Json crd = FromYaml(YAML::LoadFile(std::string(PATELLA_DEPLOY "/crds/") + plural + ".yaml"));
    schemas["dev.patella.v1alpha1." + crd["spec"]["names"]["kind"].get<std::string>()] =
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
  }
  change(schemas);
  return Json{{"components", {{"schemas", schemas}}}}.dump();
}

Json& SpecOf(Json& schemas) {
  return schemas["dev.patella.v1alpha1.InferenceDeployment"]["properties"]["spec"]["properties"];
}

TEST(SchemaCheckTest, DefinitionsOfThisVersionAreFine) { EXPECT_EQ(CheckSchemas(Answer()), absl::OkStatus()); }

TEST(SchemaCheckTest, DefinitionsOfALaterVersionAreFine) {
  EXPECT_EQ(CheckSchemas(Answer([](Json& schemas) {
              SpecOf(schemas)["addedLater"] = {{"type", "string"}};
              SpecOf(schemas)["engine"]["properties"]["type"]["enum"].push_back("AddedLater");
              schemas["dev.patella.v1alpha1.AddedLater"] = Json::object();
            })),
            absl::OkStatus());
}

TEST(SchemaCheckTest, WhatAnOlderDefinitionLacksIsNamedWithTheRemedy) {
  const absl::Status status = CheckSchemas(Answer([](Json& schemas) {
    SpecOf(schemas).erase("admission");
    SpecOf(schemas)["engine"]["properties"]["env"]["items"]["properties"].erase("value");
    SpecOf(schemas)["scaling"]["properties"]["mode"]["enum"] = {"Auto", "Off"};
  }));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(
      std::string(status.message()),
      HasSubstr("the CustomResourceDefinition inferencedeployments.patella.dev is of an older Patella: it lacks "
                "spec.engine.env[].value, spec.scaling.mode=External, spec.admission; bring the definitions up "
                "to date with `kubectl apply --server-side --force-conflicts -f deploy/crds`"));
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("servingcurves")));
}

TEST(SchemaCheckTest, AManyFoldLackIsShortened) {
  const absl::Status status = CheckSchemas(Answer([](Json& schemas) {
    schemas["dev.patella.v1alpha1.InferenceDeployment"]["properties"]["status"]["properties"] = Json::object();
  }));
  EXPECT_THAT(std::string(status.message()), HasSubstr("status.revisions and 5 more; "));
}

TEST(SchemaCheckTest, AMissingDefinitionIsNamed) {
  const absl::Status one =
      CheckSchemas(Answer([](Json& schemas) { schemas.erase("dev.patella.v1alpha1.ServingCurve"); }));
  EXPECT_THAT(std::string(one.message()),
              HasSubstr("the CustomResourceDefinition servingcurves.patella.dev is missing in the cluster; bring"));
  const absl::Status all = CheckSchemas("{}");
  EXPECT_EQ(all.code(), absl::StatusCode::kFailedPrecondition);
  for (const char* plural : {"inferencedeployments", "acceleratorclasses", "servingcurves"})
    EXPECT_THAT(std::string(all.message()), HasSubstr(std::string(plural) + ".patella.dev is missing"));
}

TEST(SchemaCheckTest, AnAnswerThatIsNoJsonIsAnErrorOfItsOwn) {
  EXPECT_EQ(CheckSchemas("<html>").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace patella::api
