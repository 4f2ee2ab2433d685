// Waiting longer after each failure, with jitter. Pure; thread-compatible.
#pragma once

#include <algorithm>
#include <optional>

#include "lib/base/clock.h"
#include "lib/base/random.h"

namespace patella::kube {

struct BackoffSettings {  // client-go's reflector
  Duration initial = std::chrono::milliseconds(800);
  Duration cap = std::chrono::seconds(30);
  double factor = 2;
  double jitter = 1;  // waits [d, d·(1+jitter))
  Duration reset_after = std::chrono::seconds(120);
};

class Backoff {
 public:
  Backoff(BackoffSettings settings, uint64_t seed) : settings_(settings), next_(settings.initial), random_(seed) {}

  // How long to wait now. Begins anew if the last call was longer than reset_after ago.
  Duration Next(TimePoint now) {
    if (last_ && now - *last_ > settings_.reset_after) next_ = settings_.initial;
    last_ = now;
    const Duration base = next_;
    next_ = std::min(settings_.cap, FromSeconds(Seconds(next_) * settings_.factor));
    return base + FromSeconds(Seconds(base) * settings_.jitter * random_.Uniform());
  }

  void Reset() {
    next_ = settings_.initial;
    last_.reset();
  }

 private:
  BackoffSettings settings_;
  Duration next_;
  std::optional<TimePoint> last_;
  Random random_;
};

}  // namespace patella::kube
