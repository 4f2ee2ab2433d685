#include "lib/science/cost.h"

#include "gtest/gtest.h"

namespace patella::science {
namespace {

TEST(CostTest, MoneyIsReadAndPrintedExactly) {
  EXPECT_EQ(ParseMoney("32.7726")->micro_dollars, 32'772'600);
  EXPECT_EQ(ParseMoney("$12")->micro_dollars, 12'000'000);
  EXPECT_EQ(ToText({32'772'600}), "32.77");
  EXPECT_EQ(ToText({32'772'600}, 6), "32.772600");
  EXPECT_EQ(ToText({5'000}), "0.01") << "half a cent rounds up";
  EXPECT_EQ(ToText({999'999'999}, 0), "1000");
}

TEST(CostTest, WhatIsNotMoneyIsRefused) {
  for (const char* text : {"", "$", ".", "-1", "1,5", "1.2.3", "0.0000001", "12e3", "99999999999999999999"}) {
    EXPECT_EQ(ParseMoney(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(CostTest, ReplicasArePackedOnNodesAndNodesAreBilled) {
  const HourlyCost cost = CostPerHour({8'000'000}, 8, 2, 5);
  EXPECT_EQ(cost.node_count, 2);
  EXPECT_EQ(cost.nodes.micro_dollars, 16'000'000);
  EXPECT_EQ(cost.accelerators.micro_dollars, 10'000'000);
}

TEST(CostTest, AMillionTokensCostTheHoursTheyTake) {
  EXPECT_EQ(PerMillionTokens({3'600'000}, 1000).micro_dollars, 1'000'000);
}

}  // namespace
}  // namespace patella::science
