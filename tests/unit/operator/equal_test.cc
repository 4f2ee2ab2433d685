#include "operator/apply/equal.h"

#include <gtest/gtest.h>

namespace patella::apply {
namespace {

TEST(CoversTest, WhatTheApiServerPutsInBesideDoesNotCount) {
  EXPECT_TRUE(Covers(R"({"spec":{"a":1,"clusterIP":"10.0.0.1"},"status":{}})", R"({"spec":{"a":1}})"));
  EXPECT_FALSE(Covers(R"({"spec":{"a":2}})", R"({"spec":{"a":1}})"));
  EXPECT_FALSE(Covers(R"({"spec":{}})", R"({"spec":{"a":1}})"));
}

TEST(CoversTest, AUsersOwnSidecarBesideOursDoesNotCount) {
  const char* intent = R"({"containers":[{"name":"engine","image":"e"}]})";
  EXPECT_TRUE(Covers(R"({"containers":[{"name":"mesh","image":"m"},{"name":"engine","image":"e"}]})", intent));
  EXPECT_FALSE(Covers(R"({"containers":[{"name":"mesh","image":"m"}]})", intent));
  EXPECT_FALSE(Covers(R"({"containers":[{"name":"engine","image":"x"}]})", intent));
}

TEST(CoversTest, ListsWithoutNamesMustBeTheSame) {
  EXPECT_TRUE(Covers(R"({"args":["a","b"]})", R"({"args":["a","b"]})"));
  EXPECT_FALSE(Covers(R"({"args":["a","b","c"]})", R"({"args":["a","b"]})"));
  EXPECT_FALSE(Covers(R"({"args":["b","a"]})", R"({"args":["a","b"]})"));
}

TEST(CoversTest, TwoMountsOfOneVolumeAreToldApartByPath) {
  const char* intent = R"({"volumeMounts":[{"name":"v","mountPath":"/a"},{"name":"v","mountPath":"/b"}]})";
  EXPECT_TRUE(Covers(intent, intent));
  EXPECT_FALSE(Covers(R"({"volumeMounts":[{"name":"v","mountPath":"/a"}]})", intent));
}

TEST(CoversTest, QuantitiesAreComparedByAmountAndOtherTextByLetter) {
  EXPECT_TRUE(Covers(R"({"limits":{"cpu":"1","memory":"1Gi"}})", R"({"limits":{"cpu":"1000m","memory":"1024Mi"}})"));
  EXPECT_TRUE(Covers(R"({"limits":{"cpu":"8"}})", R"({"limits":{"cpu":8}})"));
  EXPECT_FALSE(Covers(R"({"limits":{"cpu":"1"}})", R"({"limits":{"cpu":"1001m"}})"));
  EXPECT_FALSE(Covers(R"({"labels":{"cpu":"1"}})", R"({"labels":{"cpu":"1000m"}})"));
}

TEST(CoversTest, WhatIsNoJsonCoversNothing) { EXPECT_FALSE(Covers("{", "{}")); }

}  // namespace
}  // namespace patella::apply
