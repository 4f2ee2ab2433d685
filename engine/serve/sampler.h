// From one row of logits to one token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/random.h"
#include "lib/wire/generation.h"

namespace patella::engine {

struct Choice {
  int32_t token;
  float logprob;  // of the distribution drawn from, natural logarithm; 0 unless asked for
};

// One a sequence: its random numbers depend on its seed alone, never on what else is in the batch. Not thread-safe.
class Sampler {
 public:
  Sampler(const wire::Sampling& sampling, uint64_t seed, bool wants_logprob)
      : sampling_(sampling), random_(seed), wants_logprob_(wants_logprob) {}

  // `seen`: the prompt's and the generated tokens, for the repetition penalty. Changes `logits`.
  Choice Sample(std::span<float> logits, std::span<const int32_t> seen);

 private:
  Choice Greedy(std::span<const float> logits) const;
  Choice Draw(std::span<const float> logits);

  wire::Sampling sampling_;
  Random random_;
  bool wants_logprob_;
};

}  // namespace patella::engine
