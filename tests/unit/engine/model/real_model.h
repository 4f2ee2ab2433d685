// The demo model, real text for it, and how far two rows of logits are apart.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "engine/formats/gguf.h"

namespace patella::engine {

std::string ModelPath();  // PATELLA_MODEL, else the demo model in PATELLA_CACHE

// Natural text enough for `count` tokens: a few paragraphs and the project's licence.
std::vector<int32_t> ManyTokens(const GgufFile& file, size_t count);

struct Difference {
  double kl;  // of `got` from `want`, in nats
  bool same_top;
};
Difference Compare(std::span<const float> want, std::span<const float> got);
double LogSum(std::span<const float> x);  // log of the sum of exponentials

// Opens it as absl::StatusOr<std::unique_ptr<GgufFile>> `file`; skips the test without it, in CI fails.
#define PATELLA_OPEN_REAL_MODEL(file)                                                                  \
  const std::string model_path = ModelPath();                                                          \
  if (!std::filesystem::exists(model_path)) {                                                          \
    if (std::getenv("CI") != nullptr) FAIL() << model_path << " is missing: run tools/fetch_model.sh"; \
    GTEST_SKIP() << model_path << " is missing: run tools/fetch_model.sh";                             \
  }                                                                                                    \
  const auto file = GgufFile::Open(model_path);                                                        \
  ASSERT_TRUE(file.ok()) << file.status()

}  // namespace patella::engine
