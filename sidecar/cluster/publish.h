// What the elected sidecar writes: the autotuner's part of status, and the number of replicas. Pure.
//
// Each replica holds the limit that its own engine bears (nodes differ, and so do their neighbours); the revision's limit in status is the
// median of them. Figures are written at most every kPeriod, a changed limit or decision at once.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/api/inference_deployment.h"
#include "lib/science/autoscale.h"
#include "sidecar/cluster/report.h"

namespace patella::sidecar {

struct Publication {
  std::optional<api::InferenceDeploymentStatus> status;  // to be applied as patella-autotuner; nullopt: nothing new
  std::optional<int> replicas;                           // to be written to /scale
};

class Publisher {
 public:
  static constexpr double kPeriod_s = 15;

  // `object`: as the API server last told. `reports`: of all replicas that answered, our own among them.
  Publication Publish(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports,
                      const TunerStory& story, double now_s, int64_t wall_s);
  // After `replicas` was returned: whether it was written. What was not is no decision, and the next sample decides anew.
  void Scaled(bool written);
  // The status was not written: it is made again.
  void Failed() { written_s_ = -1e300, written_key_.clear(); }

 private:
  struct Totals {
    int64_t admitted, rejected;
  };
  science::LoadSample Load(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports,
                           double now_s);

  science::Autoscaler autoscaler_{{}};
  std::map<std::string, Totals> totals_;  // by pod, at the last sample
  double sampled_s_ = -1e300;
  double admitted_per_second_ = 0, rejected_per_second_ = 0;  // of the last sample
  double written_s_ = -1e300;
  std::string written_key_;                // what makes a status worth writing before the period is over
  std::optional<api::Decision> proposed_;  // returned as `replicas`, not yet known to be written
  std::vector<api::Decision> scale_decisions_;
};

}  // namespace patella::sidecar
