// lib/api against a real API server: defaults, a status of the largest size, and definitions that are older than this program.
// test_api_verdicts.py asks it for verdicts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lib/api/parse.h"
#include "lib/api/print.h"
#include "lib/api/schema_check.h"
#include "tests/integration/control_plane.h"

namespace patella::api {
namespace {

using integration::Eventually;
using integration::RunKubectl;
using integration::TestNamespace;
using ::testing::HasSubstr;
using Json = nlohmann::json;

template <typename T>
void ExpectTheSame(const Object& object, const Json& item) {
  const T* ours = std::get_if<T>(&object);
  if (ours == nullptr) return;
  SCOPED_TRACE(ours->metadata.name);
  const auto theirs = ParseStored<T>(item.dump());
  ASSERT_TRUE(theirs.ok()) << theirs.status();
  EXPECT_EQ(Json::parse(PrintJson(*theirs))["spec"], Json::parse(PrintJson(*ours))["spec"]);
}

// What the server filled in is what the types' own defaults are: PrintJson leaves out what is a default here.
TEST(ApiServerTest, DefaultsAreTheSameHereAndThere) {
  int objects = 0;
  for (const char* folder : {"/samples", "/accelerators"}) {
    for (const auto& file : std::filesystem::directory_iterator(std::string(PATELLA_DEPLOY) + folder)) {
      if (file.path().extension() != ".yaml") continue;
      SCOPED_TRACE(file.path().string());
      const auto ours = ParseFile(file.path().string());
      ASSERT_TRUE(ours.ok()) << ours.status();
      const auto made = RunKubectl({"create", "--dry-run=server", "-o", "json", "-f", file.path().string()});
      ASSERT_EQ(made.exit_code, 0) << made.out;
      std::istringstream items(made.out);  // one JSON object after the other
      for (const Object& object : *ours) {
        Json item;
        items >> item;
        ExpectTheSame<InferenceDeployment>(object, item);
        ExpectTheSame<AcceleratorClass>(object, item);
        ++objects;
      }
    }
  }
  EXPECT_GE(objects, 15);
}

InferenceDeploymentStatus LargeStatus() {
  const std::string text(40'000, 'x');
  InferenceDeploymentStatus status;
  status.replica_summary = text;
  status.revisions.push_back({.hash = "1a2b3c4d", .limit = 7, .bound_by = text, .confidence = text});
  status.plan.alternatives.resize(20, {.cost_per_hour = ToDecimal(1e12, 9), .reason = text});
  status.live.tokens_per_second = ToDecimal(1.0 / 3, 9);
  status.nearest_feasible.resize(20, {.objective = text, .nearest = text});
  status.decisions.resize(20, {.time = "2026-03-01T12:00:00Z", .what = text, .reason = text, .evidence = text});
  status.conditions.push_back(
      {.type = "Ready", .last_transition_time = "2026-03-01T12:00:00Z", .reason = "Serving", .message = text});
  return status;
}

TEST(ApiServerTest, TheLargestStatusIsTaken) {
  const TestNamespace ns;
  InferenceDeployment object;
  object.metadata = {.name = "demo", .namespace_name = ns.name()};
  object.spec.model = {.name = "m", .uri = "file://m"};
  ns.Kubectl({"create", "-f", "-"}, PrintJson(object));
  const InferenceDeploymentStatus status = LargeStatus();
  ns.Kubectl({"apply", "--server-side", "--subresource=status", "--field-manager=test", "-f", "-"},
             PrintStatusApply(object.metadata, status));
  const auto stored = ParseStored<InferenceDeployment>(ns.Kubectl({"get", "idep", "demo", "-o", "json"}));
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(PrintJson(stored->status), PrintJson(status));
  EXPECT_EQ(stored->status.decisions.size(), 10u);
}

TEST(ApiSchemaTest, TheDefinitionsOfThisVersionAreFine) {
  EXPECT_TRUE(Eventually([] {  // the server publishes a schema a moment after it has established the definition
    return CheckSchemas(RunKubectl({"get", "--raw", kSchemasPath}).out).ok();
  }));
}

// InferenceDeployment as an earlier version might have had it, in a group of its own: other tests need the right one.
class OlderDefinition {
 public:
  OlderDefinition() : group_("zz-older-" + std::to_string(getpid()) + ".patella.dev") {
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
    // kubectl wait refuses an object that has no conditions yet.
    EXPECT_TRUE(Eventually([&] {
      return Output({"wait", "--for=condition=Established", "--timeout=30s", "crd", Name()}).empty();
    }));
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
