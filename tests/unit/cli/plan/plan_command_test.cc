// `patella plan` as a user calls it.
#include <nlohmann/json.hpp>

#include "tests/unit/cli/run_command.h"

namespace patella::cli {
namespace {

Ran Plan(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "plan");
  return RunCommand({AddPlan}, std::move(arguments));
}

TEST(PlanCommandTest, RanksWhatMeetsTheTargetByCost) {
  const Ran ran = Plan({"--model", "meta-llama/Llama-2-7b-hf", "--target", "tpot:p90:50ms", "--output", "json"});
  ASSERT_EQ(ran.code, kOk) << ran.err;
  const auto json = nlohmann::json::parse(ran.out);
  const auto& rows = json["rows"];
  ASSERT_GT(rows.size(), 5u);
  double last = 0;
  for (const auto& row : rows) {
    if (!row["meets"]) break;
    const double cost = std::stod(row["cost_per_million_tokens"].get<std::string>());
    EXPECT_GE(cost, last);
    last = cost;
    EXPECT_GT(row["limit"], 1);
    EXPECT_FALSE(row["measured"]);
    if (row["accelerator"] == "a100-40g") {
      EXPECT_NEAR(row["critical_batch"], 312e12 / 1555e9, 0.1);
    }
  }
}

TEST(PlanCommandTest, WhatCannotBeMetHasItsOwnCodeAndNamesTheNearest) {
  const Ran ran = Plan({"--model", "llama-2-7b", "--accelerator", "a100-40g", "--target", "tpot:p90:5ms"});
  EXPECT_EQ(ran.code, kTargetImpossible);
  EXPECT_NE(ran.out.find("nearest that can be met, TimePerOutputToken p90"), std::string::npos) << ran.out;
}

TEST(PlanCommandTest, AnUnknownModelComesWithNearNamesAndTheWayOut) {
  const Ran ran = Plan({"--model", "lama"});
  EXPECT_EQ(ran.code, kUsage);
  EXPECT_NE(ran.err.find("Llama-2-7b"), std::string::npos) << ran.err;
  EXPECT_NE(ran.err.find("spec.model.shape"), std::string::npos) << ran.err;
}

TEST(PlanCommandTest, AnInferenceDeploymentGivesModelWorkloadAndObjectives) {
  const Ran ran = Plan({"-f", PATELLA_SAMPLES "/smollm2.yaml", "--accelerator", "l4"});
  EXPECT_EQ(ran.code, kOk) << ran.err;
  EXPECT_NE(ran.out.find("128 tokens in, 64 out"), std::string::npos) << ran.out;
  EXPECT_NE(ran.out.find("All figures are predicted"), std::string::npos);
}

TEST(PlanCommandTest, AFlagOverridesTheFile) {
  const Ran ran = Plan({"-f", PATELLA_SAMPLES "/smollm2.yaml", "--accelerator", "l4", "--input-tokens", "32"});
  EXPECT_EQ(ran.code, kOk) << ran.err;
  EXPECT_NE(ran.out.find("32 tokens in, 64 out"), std::string::npos) << ran.out;
}

TEST(PlanCommandTest, WrongUsageSaysWhatIsMissing) {
  EXPECT_NE(Plan({}).err.find("--model NAME or -f FILE"), std::string::npos);
  EXPECT_EQ(Plan({"--model", "llama-2-7b", "--max-cost-per-hour", "cheap"}).code, kUsage);
  EXPECT_EQ(Plan({"--model", "llama-2-7b", "--price", "a100-40g"}).code, kUsage);
  EXPECT_EQ(Plan({"--model", "llama-2-7b", "--accelerator", "abacus"}).code, kUsage);
}

}  // namespace
}  // namespace patella::cli
