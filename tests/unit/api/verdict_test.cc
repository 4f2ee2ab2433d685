// The table of valid and invalid objects against lib/api; tests/integration holds a real kube-apiserver to the same table.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include "lib/api/parse.h"
#include "lib/api/print.h"

namespace patella::api {
namespace {

using ::testing::HasSubstr;

struct Case {
  std::string name;
  std::string object;
  std::string message;  // part of it; empty: valid
};

std::vector<Case> CasesOf(const std::string& file) {
  std::vector<Case> cases;
  const YAML::Node table = YAML::LoadFile(PATELLA_TEST_DATA "/verdicts/" + file + ".yaml");
  for (const YAML::Node& row : table["cases"]) {
    Case one{row["name"].as<std::string>(), {}, {}};
    one.object = row["object"] ? row["object"].as<std::string>()
                               : table["base"].as<std::string>() + row["add"].as<std::string>("");
    one.message = row["both"].as<std::string>(row["local"].as<std::string>(""));
    cases.push_back(one);
  }
  return cases;
}

class VerdictTest : public ::testing::TestWithParam<const char*> {};

TEST_P(VerdictTest, OfEveryCaseIsTheExpectedOne) {
  int valid = 0, invalid = 0;
  for (const Case& one : CasesOf(GetParam())) {
    SCOPED_TRACE(one.name);
    const auto parsed = Parse(one.object, "case.yaml");
    ++(one.message.empty() ? valid : invalid);
    if (one.message.empty()) {
      EXPECT_TRUE(parsed.ok()) << parsed.status();
    } else {
      EXPECT_FALSE(parsed.ok()) << "expected " << one.message;
      EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(one.message));
      EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("(case.yaml:"));
    }
  }
  EXPECT_GE(valid, 2);
  EXPECT_GE(invalid, 5);
}

template <typename T>
void ExpectRoundTrips(const Object& object) {
  const T* value = std::get_if<T>(&object);
  if (value == nullptr) return;
  const auto again = Parse(Print(*value), "printed");
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << Print(*value);
  EXPECT_EQ(std::get<T>(again->front()), *value) << Print(*value);
  const auto stored = ParseStored<T>(PrintJson(*value));
  ASSERT_TRUE(stored.ok()) << stored.status() << "\n" << PrintJson(*value);
  EXPECT_EQ(PrintJson(*stored), PrintJson(*value));
}

TEST_P(VerdictTest, WhatIsValidIsTheSameAfterPrintingAndParsing) {
  for (const Case& one : CasesOf(GetParam())) {
    if (!one.message.empty()) continue;
    SCOPED_TRACE(one.name);
    const auto parsed = Parse(one.object, "case.yaml");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    ExpectRoundTrips<InferenceDeployment>(parsed->front());
    ExpectRoundTrips<AcceleratorClass>(parsed->front());
    ExpectRoundTrips<ServingCurve>(parsed->front());
  }
}

INSTANTIATE_TEST_SUITE_P(Table, VerdictTest,
                         ::testing::Values("inferencedeployment", "acceleratorclass", "servingcurve"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace patella::api
