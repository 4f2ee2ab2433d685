// The planner on the published tables, and on its own predictions.
#include "lib/science/plan.h"

#include <fstream>
#include <map>
#include <sstream>

#include "gtest/gtest.h"
#include "lib/science/catalogue.h"

namespace patella::science {
namespace {

// tp_tradeoff.csv of one model: tensor-parallel degree → points of one replica.
std::map<int, std::vector<CurvePoint>> CurvesOf(const std::string& model) {
  std::ifstream in(std::string(PATELLA_TEST_DATA) + "/tp_tradeoff.csv");
  EXPECT_TRUE(in.is_open());
  std::map<int, std::vector<CurvePoint>> curves;
  for (std::string line; std::getline(in, line);) {
    std::vector<std::string> cells;
    std::istringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    if (cells[0] != model) continue;
    const int c = std::stoi(cells[7]);
    curves[std::stoi(cells[3])].push_back({c, std::stod(cells[9]), std::stod(cells[8]), 3 * c});
  }
  EXPECT_EQ(curves.size(), model == "Llama 2 7B" ? 4u : curves.size());
  return curves;
}

// Total tokens/s of one node of eight, replicas ideal; 0 where the degree cannot meet the target.
double NodeTokensPerSecond(const std::map<int, std::vector<CurvePoint>>& curves, int degree, double target_ms) {
  const auto found = curves.find(degree);
  if (found == curves.end()) return 0;
  const auto at = OperatingPoint(found->second, target_ms);
  return at ? at->tokens_per_second * 8 / degree : 0;
}

struct Row {
  double target_ms;
  double tokens_per_second[4];  // TP 1, 2, 4, 8
};

// One 8-accelerator node, tensor parallelism against replicas: best total tokens/s with latency ≤ S, from the founding post's tables.
TEST(PlanTest, ReproducesTheTensorParallelTradeOffOfThePublishedTables) {
  const auto expect = [](const std::string& model, const std::vector<Row>& rows) {
    const auto curves = CurvesOf(model);
    for (const Row& row : rows) {
      for (int i = 0; i < 4; ++i) {
        EXPECT_NEAR(NodeTokensPerSecond(curves, 1 << i, row.target_ms), row.tokens_per_second[i], 0.51)
            << model << " S=" << row.target_ms << " TP" << (1 << i);
      }
    }
  };
  expect("Llama 2 7B", {{20, {4743, 2636, 422, 0}},
                        {25, {7557, 5312, 2074, 246}},
                        {30, {9473, 6024, 3841, 825}},
                        {50, {12879, 8890, 6229, 1902}},
                        {100, {14188, 10861, 7193, 2850}}});
  expect("Llama 2 13B", {{20, {0, 0, 0, 0}},
                         {25, {0, 2416, 1310, 117}},
                         {30, {2373, 3467, 2146, 607}},
                         {50, {4983, 5854, 4406, 2070}},
                         {100, {5525, 6771, 5410, 3097}}});
}

PlanInputs Inputs(const std::string& model, std::initializer_list<const char*> accelerators) {
  PlanInputs inputs{.model = FindModel(model).value()};
  for (const char* name : accelerators) inputs.accelerators.push_back(FindAccelerator(name).value());
  inputs.targets = {{LatencyMetric::kTimePerOutputToken, 0.9, 50}};
  return inputs;
}

TEST(PlanTest, MeasuredCurvesOverrulePredictionsAndSayByTheirRankThatReplicasBeatShardsForSevenBillion) {
  PlanInputs inputs = Inputs("Llama-2-7b", {"p4d.24xlarge"});
  for (const auto& [degree, points] : CurvesOf("Llama 2 7B")) inputs.measured.push_back({"a100-40g", degree, points});
  const Plan plan = MakePlan(inputs).value();
  ASSERT_EQ(plan.rows.size(), 4u);
  EXPECT_TRUE(plan.rows[0].measured);
  EXPECT_EQ(plan.rows[0].tensor_parallel, 1);
  EXPECT_EQ(plan.rows[0].bound_by, "TimePerOutputToken");
  EXPECT_NEAR(plan.rows[0].limit, 74, 8);
}

TEST(PlanTest, AModelThatDoesNotFitIsARowThatSaysSo) {
  const Plan plan = MakePlan(Inputs("Llama-2-70b", {"g5.2xlarge"})).value();
  ASSERT_EQ(plan.rows.size(), 1u);
  EXPECT_FALSE(plan.rows[0].fits);
  EXPECT_NE(plan.rows[0].why_not.find("needs 13"), std::string::npos) << plan.rows[0].why_not;
}

TEST(PlanTest, ReplicasReachTheThroughputAndThePriceCountsAllOfThem) {
  PlanInputs inputs = Inputs("Llama-2-7b", {"p4d.24xlarge"});
  inputs.tensor_parallel = 1;
  const PlanRow one = MakePlan(inputs).value().rows.at(0);
  inputs.min_tokens_per_second = 2.5 * one.tokens_per_second;
  const PlanRow three = MakePlan(inputs).value().rows.at(0);
  EXPECT_EQ(three.replicas, 3);
  EXPECT_EQ(three.cost.accelerators.micro_dollars, 3 * one.cost.accelerators.micro_dollars);
  EXPECT_EQ(three.cost.node_count, 1);
  EXPECT_EQ(three.per_million, one.per_million);
}

TEST(PlanTest, WhatCannotBeMetComesWithTheNearestThatCan) {
  PlanInputs inputs = Inputs("Llama-2-7b", {"p4d.24xlarge"});
  inputs.targets[0].target_ms = 5;
  const Plan plan = MakePlan(inputs).value();
  ASSERT_FALSE(plan.rows.front().meets());
  ASSERT_EQ(plan.relaxations.size(), 1u);
  EXPECT_EQ(plan.relaxations[0].objective, "TimePerOutputToken p90");
  const double nearest = std::stod(plan.relaxations[0].nearest);
  inputs.targets[0].target_ms = nearest;
  EXPECT_TRUE(MakePlan(inputs).value().rows.front().meets());
  inputs.targets[0].target_ms = nearest - 0.2;
  EXPECT_FALSE(MakePlan(inputs).value().rows.front().meets());
}

TEST(PlanTest, ACostThatCannotBeMetIsRelaxedToTheCheapestRow) {
  PlanInputs inputs = Inputs("Llama-2-13b", {"p4d.24xlarge", "g5.12xlarge"});
  inputs.max_per_hour = Money{10'000};
  const Plan plan = MakePlan(inputs).value();
  ASSERT_FALSE(plan.rows.front().meets());
  ASSERT_EQ(plan.relaxations.size(), 1u);
  EXPECT_EQ(plan.relaxations[0].objective, "cost per hour");
}

}  // namespace
}  // namespace patella::science
