// Users in virtual time: a load on the simulated server behind a limit, fixed or tracked. Deterministic for a seed.
//
// A closed loop of clients who try again 200 ms after a refusal, or Poisson arrivals; each request has one of the given
// sizes. The server's speed wanders (a first-order process of `wander` relative size and 10 s memory), as real machines' does.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "lib/base/random.h"
#include "tests/unit/science/simulator.h"
#include "tests/unit/seed.h"

namespace patella::science {

struct Load {
  ServerConfig server;
  int clients = 0;                                       // closed loop; 0: Poisson
  double stagger_s = 0.02;                               // from one client's start to the next one's
  double pause_s = 0.2;                                  // of a client that was refused
  double rate_per_s = 0;                                 // of Poisson arrivals
  std::vector<std::pair<int, int>> sizes = {{128, 64}};  // prompt, output
  double seconds = 120, warm_s = 20;
  double target_ms = 50;  // of the time per output token
  uint64_t seed = Seed(1);
};

struct Held {
  double goodput = 0;                          // tokens per second of requests that held the target
  double p90_ms = 0;                           // of admitted requests
  double mean_limit = 0, limit_deviation = 0;  // over the ticks
  int least_limit = 1 << 20;
  int admitted = 0, refused = 0;
};

// What a limit sees and says. The fixed one ignores what it is told.
class LiveLimit {
 public:
  virtual ~LiveLimit() = default;
  virtual int limit() const = 0;
  virtual void OnAdmitted(int /*prompt_tokens*/, double /*now_s*/) {}
  virtual void OnFirstToken(int /*prompt_tokens*/, int /*decoding*/, double /*now_s*/) {}
  virtual void OnTokens(int /*tokens*/, double /*gap_ms*/, int /*decoding*/, int /*in_flight*/, double /*now_s*/) {}
  virtual void OnStream(double /*admitted_s*/, double /*ms_per_token*/, int /*prompt*/, int /*output*/,
                        double /*now_s*/) {}
  virtual void OnTick(int /*in_flight*/, double /*now_s*/) {}
};

class FixedLimit final : public LiveLimit {
 public:
  explicit FixedLimit(int limit) : limit_(limit) {}
  int limit() const override { return limit_; }

 private:
  int limit_;
};

inline Held Serve(const Load& load, LiveLimit& limit) {
  struct Stream {
    int prompt, output;
    double admitted_s, first_s = 0, last_s = 0;
    int tokens = 0;
    int client = -1;
  };
  ServerConfig config = load.server;
  config.seed = load.seed;
  Server server(config);
  Random random(load.seed * 7919 + 17);
  std::map<int, Stream> streams;
  std::vector<std::pair<double, int>> wakes;  // a client that begins, or an arrival (-1)
  const auto later = [&](double at_s, int client) {
    wakes.emplace_back(at_s, client);
    std::push_heap(wakes.begin(), wakes.end(), std::greater<>());
  };
  for (int client = 0; client < load.clients; ++client) later(load.stagger_s * client, client);
  if (load.clients == 0) later(random.Exponential(1 / load.rate_per_s), -1);

  Held held;
  int next_id = 0, ticks = 0, decoding = 0;
  double now_s = 0, tick_s = 1, good = 0, squares = 0;
  std::vector<double> latencies;
  while (now_s < load.seconds) {
    const double wake_s = wakes.empty() ? 1e18 : wakes.front().first;
    const double event_s = std::max(now_s, server.NextEvent());
    if (tick_s <= std::min(wake_s, event_s)) {
      now_s = tick_s;
      tick_s += 1;
      limit.OnTick(static_cast<int>(streams.size()), now_s);
      held.least_limit = std::min(held.least_limit, limit.limit());
      held.mean_limit += limit.limit(), squares += std::pow(limit.limit(), 2), ++ticks;
      continue;
    }
    if (wake_s <= event_s) {
      now_s = wake_s;
      const int client = wakes.front().second;
      std::pop_heap(wakes.begin(), wakes.end(), std::greater<>());
      wakes.pop_back();
      if (client < 0) later(now_s + random.Exponential(1 / load.rate_per_s), -1);
      const auto& [prompt, output] =
          load.sizes[static_cast<size_t>(random.UniformInt(0, static_cast<int64_t>(load.sizes.size()) - 1))];
      if (static_cast<int>(streams.size()) >= limit.limit()) {
        ++held.refused;
        if (client >= 0) later(now_s + load.pause_s, client);
        continue;
      }
      const int id = next_id++;
      streams[id] = {.prompt = prompt, .output = output, .admitted_s = now_s, .client = client};
      limit.OnAdmitted(prompt, now_s);
      server.Start({id, prompt, output}, now_s);
      continue;
    }
    now_s = event_s;
    for (const auto& delivery : server.Advance()) {
      if (delivery.stream < 0) continue;
      Stream& stream = streams.at(delivery.stream);
      if (!delivery.end) {
        if (stream.tokens == 0) {
          stream.first_s = now_s;
          limit.OnFirstToken(stream.prompt, decoding++, now_s);
        } else {
          limit.OnTokens(delivery.tokens, 1000 * (now_s - stream.last_s), decoding, static_cast<int>(streams.size()),
                         now_s);
        }
        stream.tokens += delivery.tokens;
        stream.last_s = now_s;
        continue;
      }
      const double ms = 1000 * (stream.last_s - stream.first_s) / (stream.tokens - 1);
      if (stream.admitted_s >= load.warm_s) {
        ++held.admitted;
        latencies.push_back(ms);
        if (ms <= load.target_ms) good += stream.tokens;
      }
      limit.OnStream(stream.admitted_s, ms, stream.prompt, stream.output, now_s);
      const int client = stream.client;
      streams.erase(delivery.stream);
      --decoding;
      if (client >= 0) later(now_s, client);
    }
  }
  std::sort(latencies.begin(), latencies.end());
  if (!latencies.empty()) held.p90_ms = latencies[static_cast<size_t>(0.9 * static_cast<double>(latencies.size()))];
  held.goodput = good / (load.seconds - load.warm_s);
  held.mean_limit /= std::max(1, ticks);
  held.limit_deviation = std::sqrt(std::max(0.0, squares / std::max(1, ticks) - std::pow(held.mean_limit, 2)));
  return held;
}

}  // namespace patella::science
