// Definitions that are older than this program, on a real API server: what it says itself, and what lib/api makes of its schemas.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lib/api/schema_check.h"
#include "tests/integration/control_plane.h"

namespace patella::api {
namespace {

using integration::Eventually;
using integration::RunKubectl;
using integration::TestNamespace;
using ::testing::HasSubstr;
using Json = nlohmann::json;

TEST(ApiSchemaTest, TheDefinitionsOfThisVersionAreFine) {
  EXPECT_TRUE(Eventually([] {  // the server publishes a schema a moment after it has established the definition
    return CheckSchemas(RunKubectl({"get", "--raw", kSchemasPath}).out).ok();
  }));
}

// InferenceDeployment as an earlier version might have had it, in a group of its own: other tests need the right one.
class OlderDefinition {
 public:
  OlderDefinition() : group_("older-" + std::to_string(getpid()) + ".patella.dev") {
    Json crd = Json::parse(RunKubectl({"get", "crd", "inferencedeployments.patella.dev", "-o", "json"}).out);
    crd["metadata"] = {{"name", Name()}};
    crd.erase("status");
    crd["spec"]["group"] = group_;
    for (const char* taken : {"shortNames", "categories"}) crd["spec"]["names"].erase(taken);
    Json& schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    schema["spec"]["properties"].erase("admission");
    schema["spec"]["properties"]["scaling"]["properties"]["mode"]["enum"] = {"Auto", "Off"};
    schema["status"]["properties"].erase("nearestFeasible");
    EXPECT_EQ(Output({"apply", "-f", "-"}, crd.dump()), "");
    EXPECT_EQ(Output({"wait", "--for=condition=Established", "--timeout=30s", "crd", Name()}), "");
  }
  ~OlderDefinition() { RunKubectl({"delete", "crd", Name(), "--wait=false"}); }

  std::string Name() const { return "inferencedeployments." + group_; }
  std::string version() const { return group_ + "/v1alpha1"; }
  // The schemas of that group, as if they were of patella.dev.
  std::string Schemas() const {
    std::string schemas = RunKubectl({"get", "--raw", "/openapi/v3/apis/" + version()}).out;
    const std::string reversed = "dev.patella." + group_.substr(0, group_.find('.')) + ".v1alpha1";
    for (size_t at = 0; (at = schemas.find(reversed, at)) != std::string::npos;)
      schemas.replace(at, reversed.size(), "dev.patella.v1alpha1");
    return schemas;
  }
  Json Object() const {
    return {{"apiVersion", version()},
            {"kind", "InferenceDeployment"},
            {"metadata", {{"name", "demo"}}},
            {"spec", {{"model", {{"name", "m"}, {"uri", "file://m"}}}}}};
  }

 private:
  // What kubectl says if it fails.
  static std::string Output(const std::vector<std::string>& arguments, const std::string& input = "") {
    const auto result = RunKubectl(arguments, input);
    return result.exit_code == 0 ? "" : result.out;
  }

  std::string group_;
};

TEST(ApiSchemaTest, WhatOlderDefinitionsLackIsNamed) {
  const OlderDefinition older;
  absl::Status status;
  EXPECT_TRUE(Eventually([&] {
    status = CheckSchemas(older.Schemas());
    return status.message().find("inferencedeployments.patella.dev is of an older Patella") != std::string::npos;
  }));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("it lacks spec.scaling.mode=External, spec.admission, status.nearestFeasible; "));
}

TEST(ApiSchemaTest, TheServerRefusesOrNamesWhatOlderDefinitionsLack) {
  const OlderDefinition older;
  const TestNamespace ns;
  Json object = older.Object();
  ASSERT_TRUE(Eventually([&] {
    return RunKubectl({"apply", "--namespace", ns.name(), "-f", "-"}, object.dump()).exit_code == 0;
  }));
  object["spec"]["admission"]["overflow"] = "Reject";
  EXPECT_THAT(RunKubectl({"apply", "--namespace", ns.name(), "-f", "-"}, object.dump()).out,
              HasSubstr("unknown field \"spec.admission\""));
  Json status = older.Object();
  status.erase("spec");
  status["status"]["nearestFeasible"] = {{{"objective", "a"}, {"nearest", "b"}}};
  const auto applied = RunKubectl(
      {"apply", "--namespace", ns.name(), "--server-side", "--subresource=status", "--field-manager=test", "-f", "-"},
      status.dump());
  EXPECT_NE(applied.exit_code, 0);
  EXPECT_THAT(applied.out, HasSubstr("nearestFeasible: field not declared in schema"));
}

}  // namespace
}  // namespace patella::api
