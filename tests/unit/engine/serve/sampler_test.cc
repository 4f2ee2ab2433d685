// Log probabilities against a softmax written out here in double.
#include "engine/serve/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace patella::engine {
namespace {

std::vector<float> RandomLogits(uint64_t seed, int count = 300) {
  Random random(seed);
  std::vector<float> logits(count);
  for (float& x : logits) x = static_cast<float>(4 * random.Normal());
  return logits;
}

std::vector<double> Softmax(const std::vector<float>& logits, double temperature = 1) {
  std::vector<double> p(logits.size());
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += p[i] = std::exp(logits[i] / temperature);
  for (double& x : p) x /= sum;
  return p;
}

std::vector<int32_t> ByProbability(const std::vector<double>& p) {
  std::vector<int32_t> ids(p.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return p[a] > p[b]; });
  return ids;
}

void ExpectIs(const Choice& choice, const std::vector<double>& p, size_t top) {
  EXPECT_NEAR(choice.logprob, std::log(p[choice.token]), 1e-5);
  const std::vector<int32_t> order = ByProbability(p);
  ASSERT_EQ(choice.top.size(), top);
  for (size_t i = 0; i < top; ++i) {
    EXPECT_EQ(choice.top[i].token, order[i]) << i;
    EXPECT_NEAR(choice.top[i].logprob, std::log(p[order[i]]), 1e-5) << i;
  }
}

TEST(SamplerTest, GreedyGivesTheLogSoftmaxOfTheLikeliestAndItsNeighbours) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    for (bool of_model : {false, true}) {
      std::vector<float> logits = RandomLogits(seed);
      const std::vector<double> p = Softmax(logits);
      Sampler sampler({}, 1, {.chosen = true, .top = 5, .of_model = of_model});
      const Choice choice = sampler.Sample(logits, {});
      EXPECT_EQ(choice.token, ByProbability(p)[0]);
      ExpectIs(choice, p, 5);
    }
  }
}

TEST(SamplerTest, DrawnTokensHaveTheLogprobOfTheDistributionDrawnFrom) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<float> logits = RandomLogits(seed);
    std::vector<double> p = Softmax(logits, 1.5);
    const std::vector<int32_t> order = ByProbability(p);
    double kept = 0;  // top_k = 7, then no more of them than reach 0.8
    for (size_t i = 0; i < 7; ++i) kept += p[order[i]];
    double nucleus = 0;
    size_t count = 0;
    while (nucleus < 0.8 * kept) nucleus += p[order[count++]];
    for (size_t i = 0; i < order.size(); ++i) p[order[i]] = i < count ? p[order[i]] / nucleus : 0;
    Sampler sampler({.temperature = 1.5, .top_k = 7, .top_p = 0.8f}, seed, {.chosen = true, .top = 5});
    const Choice choice = sampler.Sample(logits, {});
    EXPECT_GT(p[choice.token], 0);
    ExpectIs(choice, p, std::min<size_t>(5, count));
  }
}

TEST(SamplerTest, OfModelMeansBeforeTemperaturePenaltyAndCutOffs) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<float> logits = RandomLogits(seed);
    const std::vector<double> p = Softmax(logits);
    const std::vector<int32_t> seen = {ByProbability(p)[0], ByProbability(p)[1]};
    Sampler sampler({.temperature = 2, .top_k = 3, .repetition_penalty = 1.7f}, seed,
                    {.chosen = true, .top = 20, .of_model = true});
    ExpectIs(sampler.Sample(logits, seen), p, 20);
  }
}

TEST(SamplerTest, ThePenaltyIsInTheLogprobOfTheDistributionDrawnFrom) {
  std::vector<float> logits = RandomLogits(3);
  const int32_t best = ByProbability(Softmax(logits))[0];
  std::vector<float> penalized = logits;
  penalized[best] /= 4;
  Sampler sampler({.repetition_penalty = 4}, 1, {.chosen = true, .top = 3});
  ExpectIs(sampler.Sample(logits, std::vector<int32_t>{best, best}), Softmax(penalized), 3);
}

TEST(SamplerTest, WhatIsAskedForDoesNotChangeWhatIsDrawn) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const auto draw = [&](const LogprobOptions& options) {
      std::vector<float> logits = RandomLogits(seed);
      Sampler sampler({.temperature = 3, .top_p = 0.9f}, seed, options);
      return sampler.Sample(logits, {}).token;
    };
    const int32_t plain = draw({});
    EXPECT_EQ(draw({.chosen = true, .top = 5}), plain);
    EXPECT_EQ(draw({.chosen = true, .top = 5, .of_model = true}), plain);
  }
}

}  // namespace
}  // namespace patella::engine
