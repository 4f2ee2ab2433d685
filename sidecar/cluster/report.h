// What one replica knows of itself, as its peers and the API server are told.
#pragma once

#include <cstdint>
#include <string>

#include "sidecar/tuner/learned.h"
#include "sidecar/tuner/view.h"

namespace patella::sidecar {

struct PeerReport {
  std::string pod, revision;
  bool ready = false;
  int limit = 0;  // 0: none yet
  std::string bound_by, confidence;
  int64_t calibrated_at_s = 0;  // since the epoch; 0: never
  int in_flight = 0;
  int64_t admitted_total = 0, rejected_total = 0;
  double tokens_per_second = 0;
  double ms_per_token = 0;        // mean of recent streams; 0: none
  double worst_target_ratio = 0;  // measured quantile over target, the largest; 0: no traffic or no target
  Learned learned;                // no step model: nothing yet
};

// What the elected sidecar says for the whole deployment beyond the figures: from its own tuner.
struct TunerStory {
  std::vector<Decision> decisions;  // time_s: wall clock, seconds since the epoch
  std::string problem;              // why the limit cannot be learned; "" otherwise
  bool impossible_target = false;   // the problem is a target below what one lone request needs
};

}  // namespace patella::sidecar
