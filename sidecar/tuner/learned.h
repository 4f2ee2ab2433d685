// What a calibration taught, in the form that outlives it: kept over a restart (sidecar/app/state_file.h) and handed to a new replica of
// the same revision (sidecar/cluster/peers.h), which then need not put a load of its own on a node that others use; and told to the
// elected sidecar, which judges the objectives by it. Values; pure.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "lib/science/feasible.h"
#include "sidecar/tuner/view.h"

namespace patella::sidecar {

struct Learned {
  std::string key;  // of the options it was learned under (KeyOf): under others it would mislead
  int limit = 0;    // believed to hold, under `key`; 0: none
  std::string bound_by, confidence;
  int64_t calibrated_at_s = 0;  // since the epoch; 0: unknown
  std::string pod;              // who measured it; "": this replica
  double a_ms = 0, b_ms = 0, cap = std::numeric_limits<double>::infinity();
  std::vector<science::CurvePoint> points;
  science::StepModel step_model;

  // How the replica stands to that now. Another one does not begin with it: its engine is another.
  double level = 1;
  science::Payload payload;
  std::vector<science::LatencySpread> spreads;  // one a target
  int most = 0;                                 // requests at once that engine and KV cache bear; 0: unknown
};

// Whether it has a curve, and figures that can be reckoned with: what another program wrote, or sent, may be anything.
bool HasCurve(const Learned& learned);
// Whether a limit can begin from it.
bool Usable(const Learned& learned);

// The one to begin from among those learned under `key`: of the surest, the one with the median limit. Null if there is none.
const Learned* Choose(const std::vector<Learned>& candidates, const std::string& key);

}  // namespace patella::sidecar
