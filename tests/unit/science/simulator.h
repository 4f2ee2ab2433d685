// A continuous-batching server in virtual time, and a runner that drives a Probe against it. Deterministic for a seed.
//
// Two kinds of scheduler exist in the field, and both are here: one prefills all waiting prompts in a step of their own while decodes stall;
// one mixes chunks of prefill into decode steps under a token budget. A step costs
//   a + b·(decoding) + k·(their context tokens) + prefill_ms (if any prompt began) + p·(prompt tokens)      times seeded noise.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>
#include <variant>
#include <vector>

#include "lib/base/random.h"
#include "lib/science/probe.h"
#include "tests/unit/seed.h"

namespace patella::science {

struct ServerConfig {
  double a_ms = 16, b_ms = 0.4;
  double context_ms_per_token = 0;  // k
  double prefill_ms = 2;            // each pass or prompt start
  double prefill_ms_per_token = 0.05;
  int chunk_tokens = 0;      // 0: stalling prefill; else the token budget of a mixed step
  int max_batch = 1 << 20;   // running sequences; the others queue
  double noise = 0.05;       // of a step's time, relative
  double wander = 0;         // of the whole server's speed, relative: a first-order process with 10 s memory
  int tokens_per_chunk = 1;  // tokens that the server sends together
  int padding = 1;           // batches are padded to multiples of this
  double network_ms = 0.3;
  double cold_factor = 1, cold_s = 0;        // a step costs (1 + (factor − 1)·e^(−t/cold_s)) times as much
  double jump_at_s = 1e18, jump_factor = 1;  // from then on every step costs this many times as much
  int fails_after = 1 << 30;                 // streams started; later ones fail at once
  uint64_t seed = Seed(1);
};

class Server {
 public:
  explicit Server(const ServerConfig& config) : config_(config), random_(config.seed) {}

  struct Delivery {
    double at_s;
    int stream, tokens;
    bool end, ok;
  };

  void Start(const StartStream& start, double now_s) {
    ++started_;
    if (started_ > config_.fails_after) {
      deliveries_.push_back({now_s, start.stream, 0, true, false});
      return;
    }
    waiting_.push_back({start.stream, start.prompt_tokens, start.prompt_tokens, start.max_output_tokens});
    if (step_end_s_ < 0) BeginStep(now_s + config_.network_ms / 1000);
  }
  void Cancel(int stream) { cancelled_.push_back(stream); }

  double NextEvent() const {
    return deliveries_.empty() ? step_end_s_ < 0 ? 1e18 : step_end_s_ : deliveries_.front().at_s;
  }

  // Everything that is due at NextEvent().
  std::vector<Delivery> Advance() {
    if (deliveries_.empty()) EndStep();
    std::vector<Delivery> due(deliveries_.begin(), deliveries_.end());
    deliveries_.clear();
    return due;
  }

 private:
  struct Sequence {
    int stream, prompt, unprefilled, max_output;
    int produced = 0, unsent = 0;
  };

  void BeginStep(double now_s) {
    DropCancelled(now_s);
    const bool stalling = config_.chunk_tokens == 0;
    int prefill_tokens = 0, begun = 0, decoding = 0;
    double context = 0;
    for (Sequence& sequence : running_) {
      if (sequence.unprefilled > 0) continue;
      ++decoding;
      context += sequence.prompt + sequence.produced;
    }
    int budget = stalling ? 1 << 30 : std::max(1, config_.chunk_tokens - decoding);
    const auto prefill = [&](Sequence& sequence) {
      begun += sequence.unprefilled == sequence.prompt;
      const int now = std::min(budget, sequence.unprefilled);
      sequence.unprefilled -= now;
      budget -= now;
      prefill_tokens += now;
      if (sequence.unprefilled == 0) produces_.push_back(sequence.stream);
    };
    produces_.clear();
    for (Sequence& sequence : running_) {
      if (sequence.unprefilled > 0 && budget > 0) prefill(sequence);
    }
    while (!waiting_.empty() && budget > 0 && static_cast<int>(running_.size()) < config_.max_batch) {
      running_.push_back(waiting_.front());
      waiting_.pop_front();
      prefill(running_.back());
    }
    const bool decode = decoding > 0 && !(stalling && prefill_tokens > 0);
    if (running_.empty()) {
      step_end_s_ = -1;
      return;
    }
    double ms = begun > 0 ? config_.prefill_ms : 0;
    ms += config_.prefill_ms_per_token * prefill_tokens;
    if (decode || !stalling) {
      const double padded = std::ceil(static_cast<double>(decoding) / config_.padding) * config_.padding;
      ms += config_.a_ms + config_.b_ms * padded + config_.context_ms_per_token * context;
    }
    if (decode) {
      for (const Sequence& sequence : running_) {
        const bool just = std::find(produces_.begin(), produces_.end(), sequence.stream) != produces_.end();
        if (sequence.unprefilled == 0 && !just) produces_.push_back(sequence.stream);
      }
    }
    ms *= std::exp(config_.noise * random_.Normal() - 0.5 * config_.noise * config_.noise);
    if (config_.wander > 0) {
      const double kept = std::exp(-(now_s - wandered_s_) / 10);
      level_ = kept * level_ + std::sqrt(1 - kept * kept) * random_.Normal();
      wandered_s_ = now_s;
      ms *= std::exp(config_.wander * level_);
    }
    if (config_.cold_s > 0) ms *= 1 + (config_.cold_factor - 1) * std::exp(-now_s / config_.cold_s);
    if (now_s >= config_.jump_at_s) ms *= config_.jump_factor;
    step_end_s_ = now_s + ms / 1000;
  }

  void EndStep() {
    const double now_s = step_end_s_;
    for (const int stream : produces_) {
      const auto found =
          std::find_if(running_.begin(), running_.end(), [&](const Sequence& s) { return s.stream == stream; });
      if (found == running_.end()) continue;
      ++found->produced;
      ++found->unsent;
      const bool end = found->produced >= found->max_output;
      if (end || found->unsent >= config_.tokens_per_chunk || found->produced == 1) {
        deliveries_.push_back({now_s, stream, std::exchange(found->unsent, 0), false, true});
      }
      if (end) {
        deliveries_.push_back({now_s, stream, 0, true, true});
        running_.erase(found);
      }
    }
    BeginStep(now_s);
    if (deliveries_.empty()) deliveries_.push_back({now_s, -1, 0, false, true});
  }

  void DropCancelled(double now_s) {
    for (const int stream : cancelled_) {
      const auto is = [&](const Sequence& s) { return s.stream == stream; };
      const size_t before = running_.size() + waiting_.size();
      std::erase_if(running_, is);
      std::erase_if(waiting_, is);
      if (running_.size() + waiting_.size() < before) deliveries_.push_back({now_s, stream, 0, true, true});
    }
    cancelled_.clear();
  }

  ServerConfig config_;
  Random random_;
  std::deque<Sequence> waiting_;
  std::vector<Sequence> running_;
  std::vector<int> cancelled_, produces_;
  std::deque<Delivery> deliveries_;
  double step_end_s_ = -1, level_ = 0, wandered_s_ = 0;
  int started_ = 0;
};

// Runs the probe to its end (or `most_s`); returns the virtual seconds it took. `look` is called after whatever happened.
inline double Drive(
    Server& server, Probe& probe, double most_s = 3600, const std::function<void()>& look = [] {}) {
  double now_s = 0, next_tick_s = 0.02;
  const auto carry = [&](const std::vector<ProbeAction>& actions) {
    for (const ProbeAction& action : actions) {
      if (const auto* start = std::get_if<StartStream>(&action)) server.Start(*start, now_s);
      if (const auto* cancel = std::get_if<CancelStream>(&action)) server.Cancel(cancel->stream);
    }
    look();
  };
  carry(probe.Begin(now_s));
  while (!probe.done() && now_s < most_s) {
    if (server.NextEvent() > next_tick_s) {
      now_s = next_tick_s;
      next_tick_s += 0.02;
      carry(probe.OnTick(now_s));
      continue;
    }
    now_s = std::max(now_s, server.NextEvent());
    for (const Server::Delivery& delivery : server.Advance()) {
      if (probe.done()) break;
      if (delivery.stream < 0) continue;
      carry(delivery.end ? probe.OnEnd(delivery.stream, delivery.ok, now_s)
                         : probe.OnTokens(delivery.stream, delivery.tokens, now_s));
    }
  }
  return now_s;
}

}  // namespace patella::science
