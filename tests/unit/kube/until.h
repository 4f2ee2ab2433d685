// Waits for what other threads do: polls real state, with a bound.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace patella::kube {

inline bool Until(const std::function<bool()>& done, std::chrono::seconds bound = std::chrono::seconds(10)) {
  const auto end = std::chrono::steady_clock::now() + bound;
  while (!done() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return done();
}

}  // namespace patella::kube
