#include "engine/serve/sampler.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace patella::engine {
namespace {

// As in the CTRL paper: a seen token's logit is divided if positive, multiplied if negative; once however often it was seen.
void Penalize(std::span<float> logits, std::span<const int32_t> seen, float penalty) {
  for (int32_t token : std::set<int32_t>(seen.begin(), seen.end())) {
    float& logit = logits[token];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

double LogSumExp(std::span<const float> logits) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum);
}

struct Candidate {
  float value;  // a logit or a weight
  int32_t token;
};

// Higher first; of equals the smaller id.
bool Better(const Candidate& a, const Candidate& b) {
  return a.value != b.value ? a.value > b.value : a.token < b.token;
}

std::vector<Candidate> CandidatesOf(std::span<const float> logits) {
  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates[i] = {logits[i], static_cast<int32_t>(i)};
  return candidates;
}

void SortTop(std::vector<Candidate>& candidates, int count) {
  const auto end = candidates.begin() + std::min<ptrdiff_t>(count, std::ssize(candidates));
  std::partial_sort(candidates.begin(), end, candidates.end(), Better);
}

// What softmax(logits) says of `token` and of the likeliest.
Choice Describe(std::span<const float> logits, int32_t token, const LogprobOptions& options) {
  Choice choice{token, 0, {}};
  if (!options.chosen) return choice;
  const double total = LogSumExp(logits);
  choice.logprob = static_cast<float>(logits[token] - total);
  if (options.top <= 0) return choice;
  std::vector<Candidate> candidates = CandidatesOf(logits);
  SortTop(candidates, options.top);
  candidates.resize(std::min<size_t>(candidates.size(), options.top));
  for (const Candidate& c : candidates) choice.top.push_back({c.token, static_cast<float>(c.value - total)});
  return choice;
}

}  // namespace

float Logprob(std::span<const float> logits, int32_t token) {
  return static_cast<float>(logits[token] - LogSumExp(logits));
}

Choice Sampler::Sample(std::span<float> logits, std::span<const int32_t> seen) {
  const bool penalizes = sampling_.repetition_penalty != 1;
  std::vector<float> untouched;
  if (penalizes && logprobs_.chosen && logprobs_.of_model) untouched.assign(logits.begin(), logits.end());
  if (penalizes) Penalize(logits, seen, sampling_.repetition_penalty);
  Choice choice = sampling_.temperature <= 0 ? Greedy(logits) : Draw(logits);
  if (!logprobs_.of_model) return choice;
  return Describe(untouched.empty() ? std::span<const float>(logits) : untouched, choice.token, logprobs_);
}

Choice Sampler::Greedy(std::span<const float> logits) const {
  const auto best = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  return logprobs_.of_model ? Choice{best, 0, {}} : Describe(logits, best, logprobs_);
}

Choice Sampler::Draw(std::span<const float> logits) {
  std::vector<Candidate> candidates = CandidatesOf(logits);
  if (sampling_.top_k > 0 && sampling_.top_k < static_cast<int>(candidates.size())) {
    std::nth_element(candidates.begin(), candidates.begin() + sampling_.top_k, candidates.end(), Better);
    candidates.resize(sampling_.top_k);
  }
  const float highest = std::min_element(candidates.begin(), candidates.end(), Better)->value;
  double sum = 0;
  for (Candidate& c : candidates) {
    c.value = std::exp((c.value - highest) / sampling_.temperature);
    sum += c.value;
  }
  if (sampling_.top_p < 1) {
    std::sort(candidates.begin(), candidates.end(), Better);
    double kept = 0;
    size_t count = 0;
    do kept += candidates[count++].value;
    while (count < candidates.size() && kept < sampling_.top_p * sum);
    candidates.resize(count);
    sum = kept;
  }
  double left = random_.Uniform() * sum;
  auto chosen = candidates.begin();
  while (chosen + 1 != candidates.end() && (left -= chosen->value) >= 0) ++chosen;
  Choice choice{chosen->token, 0, {}};
  if (!logprobs_.chosen || logprobs_.of_model) return choice;
  const auto logprob = [sum](const Candidate& c) { return static_cast<float>(std::log(c.value / sum)); };
  choice.logprob = logprob(*chosen);
  SortTop(candidates, logprobs_.top);
  for (size_t i = 0; i < candidates.size() && static_cast<int>(i) < logprobs_.top && candidates[i].value > 0; ++i)
    choice.top.push_back({candidates[i].token, logprob(candidates[i])});
  return choice;
}

}  // namespace patella::engine
