#include "engine/serve/kv_tokens.h"

#include <gtest/gtest.h>

namespace patella::engine {
namespace {

constexpr int64_t kMib = 1 << 20;
constexpr int kBlock = 16;

TEST(KvTokensTest, WhatWasAskedForStandsWhereMemoryHoldsIt) {
  EXPECT_EQ(KvTokens(1024, kMib, kBlock, {.available = 2000 * kMib}), 1024);
  EXPECT_EQ(KvTokens(1030, kMib, kBlock, {.available = 2000 * kMib}), 1024) << "whole blocks";
  EXPECT_EQ(KvTokens(1024, kMib, kBlock, {.available = 2000 * kMib, .limit = 2000 * kMib, .weights = 500 * kMib}),
            1024);
}

TEST(KvTokensTest, ItIsLoweredToNineTenthsOfWhatIsFree) {
  EXPECT_EQ(KvTokens(4096, kMib, kBlock, {.available = 1000 * kMib}), 896);
  EXPECT_EQ(KvTokens(4096, kMib, kBlock, {.available = 8000 * kMib, .limit = 1500 * kMib, .weights = 500 * kMib}), 896);
  EXPECT_EQ(KvTokens(4096, kMib, kBlock, {.available = 8000 * kMib, .limit = 400 * kMib, .weights = 500 * kMib}), 16);
}

// Where /proc/meminfo cannot be read the available memory was taken for 0, and the KV cache lowered to one block.
TEST(KvTokensTest, MemoryThatIsUnknownLowersNothing) {
  EXPECT_EQ(KvTokens(4096, kMib, kBlock, {}), 4096);
  EXPECT_EQ(KvTokens(4096, kMib, kBlock, {.limit = 1500 * kMib, .weights = 500 * kMib}), 896) << "the limit is known";
}

TEST(KvTokensTest, ByDefaultItIsAQuarterOfWhatIsFreeWithinBounds) {
  EXPECT_EQ(KvTokens(0, kMib, kBlock, {.available = 16000 * kMib}), 4000);
  EXPECT_EQ(KvTokens(0, kMib, kBlock, {.available = 1 << 30}), 2048);
  EXPECT_EQ(KvTokens(0, 1024, kBlock, {.available = 16000 * kMib}), 32768);
  EXPECT_EQ(KvTokens(0, kMib, kBlock, {}), 2048);
}

}  // namespace
}  // namespace patella::engine
