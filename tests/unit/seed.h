// Where tests get their seeds from, so that a failure can be played again: PATELLA_SEED=N is the seed instead of the usual one, PATELLA_SEEDS=N how
// many of them a property is tried on. A failed test prints the line that repeats it.
//
//   for (const uint64_t seed : Seeds(20)) {        // a property, which holds for each seed: PATELLA_SEED plays that one alone
//     SCOPED_TRACE(Replay(seed));
//   Random random(Seed(3));                        // all else: the test's one seed
#pragma once

#include <errno.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "lib/base/text.h"

namespace patella {

inline int64_t NumberFromEnvironment(const char* variable, int64_t fallback) {
  const char* text = std::getenv(variable);
  int64_t number = 0;
  return text != nullptr && ParseInt(text, &number) && number > 0 ? number : fallback;
}

inline std::string Replay(uint64_t seed) {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  return StrCat("to play this again: PATELLA_SEED=", seed, " ", program_invocation_short_name, " --gtest_filter='",
                test == nullptr ? "*" : StrCat(test->test_suite_name(), ".", test->name()), "'");
}

// Prints Replay if a test that asked for Seed has failed.
class SeedPrinter final : public testing::EmptyTestEventListener {
 public:
  static std::atomic<uint64_t>& InUse() {  // by the test that runs; 0: none
    static std::atomic<uint64_t> seed = 0;
    return seed;
  }
  void OnTestStart(const testing::TestInfo&) override { InUse() = 0; }
  void OnTestEnd(const testing::TestInfo& test) override {
    if (test.result()->Failed() && InUse() != 0) std::printf("%s\n", Replay(InUse()).c_str());
  }
  static bool Begin() {
    testing::UnitTest::GetInstance()->listeners().Append(new SeedPrinter);  // which owns it
    return true;
  }
};
inline const bool kSeedPrinterBegan = SeedPrinter::Begin();

inline uint64_t Seed(uint64_t usual) {
  const auto seed = static_cast<uint64_t>(NumberFromEnvironment("PATELLA_SEED", static_cast<int64_t>(usual)));
  SeedPrinter::InUse() = seed;
  return seed;
}

// 1 to `count`, or to PATELLA_SEEDS, or PATELLA_SEED alone.
inline std::vector<uint64_t> Seeds(int count) {
  if (const int64_t one = NumberFromEnvironment("PATELLA_SEED", 0); one > 0) return {static_cast<uint64_t>(one)};
  std::vector<uint64_t> seeds;
  const auto last = static_cast<uint64_t>(NumberFromEnvironment("PATELLA_SEEDS", count));
  for (uint64_t seed = 1; seed <= last; ++seed) seeds.push_back(seed);
  return seeds;
}

}  // namespace patella
