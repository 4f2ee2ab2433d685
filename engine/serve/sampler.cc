#include "engine/serve/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <utility>

namespace patella::engine {
namespace {

// As in the CTRL paper: a seen token's logit is divided if positive, multiplied if negative; once however often it was seen.
void Penalize(std::span<float> logits, std::span<const int32_t> seen, float penalty) {
  for (int32_t token : std::set<int32_t>(seen.begin(), seen.end())) {
    float& logit = logits[token];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

}  // namespace

Choice Sampler::Sample(std::span<float> logits, std::span<const int32_t> seen) {
  if (sampling_.repetition_penalty != 1) Penalize(logits, seen, sampling_.repetition_penalty);
  return sampling_.temperature <= 0 ? Greedy(logits) : Draw(logits);
}

Choice Sampler::Greedy(std::span<const float> logits) const {
  const auto best = std::max_element(logits.begin(), logits.end());
  Choice choice{static_cast<int32_t>(best - logits.begin()), 0};
  if (wants_logprob_) {
    float sum = 0;
    for (float logit : logits) sum += std::exp(logit - *best);
    choice.logprob = -std::log(sum);
  }
  return choice;
}

Choice Sampler::Draw(std::span<const float> logits) {
  std::vector<std::pair<float, int32_t>> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates[i] = {logits[i], static_cast<int32_t>(i)};
  const auto better = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  if (sampling_.top_k > 0 && sampling_.top_k < static_cast<int>(candidates.size())) {
    std::nth_element(candidates.begin(), candidates.begin() + sampling_.top_k, candidates.end(), better);
    candidates.resize(sampling_.top_k);
  }
  const float highest = std::max_element(candidates.begin(), candidates.end())->first;
  double sum = 0;
  for (auto& [weight, id] : candidates) {
    weight = std::exp((weight - highest) / sampling_.temperature);
    sum += weight;
  }
  if (sampling_.top_p < 1) {
    std::sort(candidates.begin(), candidates.end(), better);
    double kept = 0;
    size_t count = 0;
    do kept += candidates[count++].first;
    while (count < candidates.size() && kept < sampling_.top_p * sum);
    candidates.resize(count);
    sum = kept;
  }
  double left = random_.Uniform() * sum;
  auto chosen = candidates.begin();
  while (chosen + 1 != candidates.end() && (left -= chosen->first) >= 0) ++chosen;
  return {chosen->second, wants_logprob_ ? static_cast<float>(std::log(chosen->first / sum)) : 0};
}

}  // namespace patella::engine
