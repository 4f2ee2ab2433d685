// From one row of logits to one token, and the log probabilities that a client asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/random.h"
#include "lib/wire/generation.h"

namespace patella::engine {

// Natural logarithms of probabilities.
struct LogprobOptions {
  bool chosen = false;    // of the token drawn
  int top = 0;            // and of so many of the likeliest
  bool of_model = false;  // of softmax(logits) as OpenAI gives them; else of the distribution drawn from, as TGI does
  bool prompt = false;    // of the prompt's tokens, always of softmax(logits)
};

struct TokenLogprob {
  int32_t token;
  float logprob;
};

struct Choice {
  int32_t token;
  float logprob;                  // 0 unless asked for
  std::vector<TokenLogprob> top;  // best first; fewer where top_k or top_p left fewer to draw from
};

// log(softmax(logits)[token]).
float Logprob(std::span<const float> logits, int32_t token);

// One a sequence: its random numbers depend on its seed alone, never on what else is in the batch. Not thread-safe.
class Sampler {
 public:
  Sampler(const wire::Sampling& sampling, uint64_t seed, const LogprobOptions& logprobs)
      : sampling_(sampling), random_(seed), logprobs_(logprobs) {}

  // `seen`: the prompt's and the generated tokens, for the repetition penalty. Changes `logits`.
  Choice Sample(std::span<float> logits, std::span<const int32_t> seen);

 private:
  Choice Greedy(std::span<const float> logits) const;
  Choice Draw(std::span<const float> logits);

  wire::Sampling sampling_;
  Random random_;
  LogprobOptions logprobs_;
};

}  // namespace patella::engine
