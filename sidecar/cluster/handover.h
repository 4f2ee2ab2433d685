// A new replica asks the others of its revision for what they have measured, so that it need not measure anew. Blocks; the caller's thread
// must be the one that asks peers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "sidecar/cluster/peers.h"

namespace patella::sidecar {

struct HandOverQuestion {
  std::string pod, revision;  // our own: a peer of another revision runs another engine, model or accelerator
  std::string key;            // KeyOf our options
};

// What peers of that revision have learned under that key, usable all. Asks again while there is none, at most a few times: a peer may
// not have been resolved or heard the same news of the object yet. `wait` pauses; false: leave off.
std::vector<Learned> AskForLearned(Peers& peers, const HandOverQuestion& question,
                                   const std::function<bool(Duration)>& wait);

}  // namespace patella::sidecar
