#include "sidecar/app/state_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <vector>

namespace patella::sidecar {
namespace {

class StateFileTest : public testing::Test {
 protected:
  StateFileTest() {
    std::filesystem::create_directories(folder_);
    options_.targets = {{.quantile = 0.9, .target_ms = 50}};
    learned_ = {.key = KeyOf(options_), .limit = 20, .bound_by = "TimePerOutputToken", .confidence = "High"};
    learned_.calibrated_at_s = 1'800'000'000;
    learned_.a_ms = 10, learned_.b_ms = 2;
    learned_.points = {{1, 12, 83.5, 10}, {8, 26, 307, 11}};
    learned_.step_model = {.points = {{1, 12}, {8, 26}}, .prompt_ms_per_token = 0.25};
  }
  ~StateFileTest() override { std::filesystem::remove_all(folder_); }
  const std::string folder_ =
      testing::TempDir() + testing::UnitTest::GetInstance()->current_test_info()->name() + std::to_string(getpid());
  TunerOptions options_;
  Learned learned_;
};

TEST_F(StateFileTest, WhatWasLearnedComesBack) {
  ASSERT_TRUE(WriteState(folder_, learned_).ok());
  const Learned read = ReadState(folder_, options_);
  EXPECT_EQ(read.limit, 20);
  EXPECT_EQ(read.confidence, "High");
  EXPECT_EQ(read.calibrated_at_s, 1'800'000'000);
  EXPECT_TRUE(std::isinf(read.cap));
  ASSERT_EQ(read.points.size(), 2u);
  EXPECT_EQ(read.points[0].tokens_per_second, 83.5);
  ASSERT_EQ(read.step_model.points.size(), 2u);
  EXPECT_EQ(read.step_model.prompt_ms_per_token, 0.25);
}

TEST_F(StateFileTest, WhatWasLearnedForOtherTargetsIsForgotten) {
  ASSERT_TRUE(WriteState(folder_, learned_).ok());
  for (const auto& change : std::vector<std::function<void(TunerOptions&)>>{
           [](TunerOptions& o) { o.targets[0].target_ms = 49; }, [](TunerOptions& o) { o.targets[0].quantile = 0.95; },
           [](TunerOptions& o) { o.targets.clear(); }, [](TunerOptions& o) { o.ceiling = 8; },
           [](TunerOptions& o) { o.input_tokens = 1; }, [](TunerOptions& o) { o.output_tokens = 2; }}) {
    TunerOptions options = options_;
    change(options);
    EXPECT_EQ(ReadState(folder_, options).limit, 0) << KeyOf(options);
  }
}

TEST_F(StateFileTest, AFileThatIsMissingCutShortOrNonsenseIsNone) {
  EXPECT_EQ(ReadState(folder_, options_).limit, 0);
  ASSERT_TRUE(WriteState(folder_, learned_).ok());
  const std::string path = folder_ + "/patella-limit.json";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_EQ(ReadState(folder_, options_).limit, 0);
  learned_.step_model.points[1].ms = 1;  // faster with more at once
  ASSERT_TRUE(WriteState(folder_, learned_).ok());
  EXPECT_EQ(ReadState(folder_, options_).limit, 0);
}

}  // namespace
}  // namespace patella::sidecar
