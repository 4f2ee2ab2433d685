#include "lib/science/capacity.h"

#include <vector>

#include "gtest/gtest.h"
#include "lib/science/catalogue.h"

namespace patella::science {
namespace {

ModelShape Model(const char* name) { return *FindModel(name); }
Accelerator Of(const char* name) { return *FindAccelerator(name); }

TEST(CapacityTest, KvBytesPerTokenAreThePublishedOnes) {
  EXPECT_NEAR(KvBytesPerToken(Model("Llama-2-7b")), 0.524e6, 1e3);
  EXPECT_NEAR(KvBytesPerToken(Model("Llama-2-13b")), 0.819e6, 1e3);
}

TEST(CapacityTest, KvCapacityIsNearTheCapsSeenInThePublishedCurves) {
  EXPECT_NEAR(KvCapacity(Model("Llama-2-7b"), Of("g5.2xlarge"), 1, 512), 28.5, 0.3);
  EXPECT_NEAR(KvCapacity(Model("Llama-2-7b"), Of("g5.2xlarge"), 1, 4096), 3.6, 0.1);
  EXPECT_NEAR(KvCapacity(Model("Llama-2-7b"), Of("p4d.24xlarge"), 1, 512), 94, 1);
  EXPECT_NEAR(KvCapacity(Model("Llama-2-13b"), Of("p4d.24xlarge"), 1, 512), 30.4, 1);
  EXPECT_NEAR(SimpleKvCapacity(Model("Llama-2-7b"), Of("g5.2xlarge"), 1, 512), 37, 2);
}

TEST(CapacityTest, TheCriticalBatchIsFlopsOverBytes) {
  EXPECT_NEAR(CriticalBatch(Of("a100-40g")), 312e12 / 1555e9, 0.1);
  EXPECT_NEAR(CriticalBatch(Of("g5.2xlarge")), 70e12 / 600e9, 0.1);
}

TEST(CapacityTest, TensorParallelismMustDivideTheHeadsAndFit) {
  const auto feasible = [](const char* model, const char* accelerator) {
    std::vector<int> degrees;
    for (int degree = 1; degree <= 16; degree *= 2) {
      if (CheckTensorParallel(Model(model), Of(accelerator), degree, 512).ok()) degrees.push_back(degree);
    }
    return degrees;
  };
  EXPECT_EQ(feasible("falcon-7b", "a100-40g"), std::vector<int>({1})) << "71 heads";
  EXPECT_EQ(feasible("Llama-2-13b", "g5.2xlarge"), std::vector<int>());
  EXPECT_EQ(feasible("Llama-2-70b", "a100-40g"), std::vector<int>({4, 8})) << "a node has eight";
}

// Published configurations of 512 and 4096 tokens, against the a and b fitted to them (the prior for b was set on
// these: an in-sample check).
TEST(CapacityTest, ThePriorIsAsFarOffAsItSays) {
  struct Row {
    const char *model, *accelerator;
    int tensor_parallel, tokens;
    double a_ms, b_ms;
  };
  const Row rows[] = {
      {"Llama-2-7b", "g5.2xlarge", 1, 512, 32.7, 0.824},    {"Llama-2-7b", "g5.12xlarge", 4, 512, 15.6, 0.657},
      {"Llama-2-7b", "g5.48xlarge", 8, 512, 16.4, 0.933},   {"Llama-2-7b", "p4d.24xlarge", 8, 512, 21.1, 0.268},
      {"Llama-2-13b", "p4d.24xlarge", 1, 512, 24.7, 0.789}, {"Llama-2-13b", "p4d.24xlarge", 2, 512, 20.3, 0.379},
      {"Llama-2-13b", "p4d.24xlarge", 4, 512, 21.1, 0.245}, {"Llama-2-13b", "p4d.24xlarge", 8, 512, 23.7, 0.231},
      {"Llama-2-7b", "p4d.24xlarge", 1, 512, 15.4, 0.391},  {"Llama-2-7b", "p4d.24xlarge", 2, 512, 15.6, 0.292},
      {"Llama-2-7b", "p4d.24xlarge", 4, 512, 17.8, 0.189},  {"Llama-2-7b", "g5.2xlarge", 1, 4096, 0, 5.56},
      {"Llama-2-7b", "g5.12xlarge", 4, 4096, 0, 4.94},      {"Llama-2-7b", "g5.48xlarge", 8, 4096, 0, 9.36},
      {"Llama-2-7b", "p4d.24xlarge", 8, 4096, 0, 2.11},
  };
  for (const Row& row : rows) {
    const Prior prior = PredictLaw(Model(row.model), Of(row.accelerator), row.tensor_parallel, row.tokens - 256, 256);
    SCOPED_TRACE(std::string(row.model) + " " + row.accelerator + " TP" + std::to_string(row.tensor_parallel));
    if (row.a_ms > 0) {
      EXPECT_LE(prior.a_ms.low, row.a_ms);
      EXPECT_GE(prior.a_ms.high, row.a_ms);
    }
    EXPECT_LE(prior.b_ms.low, row.b_ms);
    EXPECT_GE(prior.b_ms.high, row.b_ms);
  }
}

TEST(CapacityTest, NamesAreForgiving) {
  EXPECT_EQ(FindModel("meta-llama/Llama-2-7b-chat-hf")->name, "Llama-2-7b");
  EXPECT_EQ(FindModel("meta-llama/Meta-Llama-3-8B-Instruct")->name, "Llama-3-8B");
  EXPECT_EQ(FindModel("mistralai/Mixtral-8x7B-v0.1")->name, "Mixtral-8x7B");
  EXPECT_EQ(FindAccelerator("A10G")->instance, "g5.2xlarge");
  const absl::Status unknown = FindModel("llama-2-8b").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(unknown.message().find("Llama-2-7b"), absl::string_view::npos) << unknown;
}

}  // namespace
}  // namespace patella::science
