// A sidecar's place in a cluster: follows its InferenceDeployment, takes part in the election, and writes what the elected one writes.
//
// The object is watched; what a running replica can follow (ReplicaPolicy) is handed to the loop at once. Lease NAME-autotuner elects one sidecar
// of the deployment, over all revisions; it asks the others for their reports and applies the autotuner's part of status, and /scale. While
// the API server is away everything goes on with what is known, and what was missed is written after. No traffic waits for anything here.
//
// Threads: a reflector, an elector and one that publishes; hooks run where they say.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/http/loop.h"
#include "lib/metrics/metrics.h"
#include "sidecar/cluster/policy.h"
#include "sidecar/cluster/report.h"

namespace patella::sidecar {

struct ClusterOptions {
  std::string kubeconfig;  // "": the pod's service account
  std::string namespace_name, deployment, revision, pod;
  std::string peers_listen, peers, peers_certificates;
  metrics::Metrics* metrics = nullptr;  // of requests to the API server and of the election; outlives the link
};

struct ClusterHooks {
  std::function<PeerReport()> report;                   // on the loop's thread
  std::function<TunerStory()> story;                    // on the loop's thread
  std::function<void(const ReplicaPolicy&)> on_policy;  // on the loop's thread; when it is another than before
};

class ClusterLink {
 public:
  // Errors are those of a program that cannot work: no kubeconfig, a taken port. An API server that is away is none.
  static absl::StatusOr<std::unique_ptr<ClusterLink>> Start(http::Loop& loop, ClusterOptions options,
                                                            ClusterHooks hooks);
  virtual ~ClusterLink() = default;

  virtual bool elected() const = 0;
  // Asks the other replicas of this revision for what they have learned under `key` (sidecar/tuner/options.h), for a few seconds or until
  // one has something to begin from. `done` is called on the loop's thread, once, unless this is destroyed before. On the loop's thread.
  virtual void AskPeers(std::string key, std::function<void(const std::vector<Learned>&)> done) = 0;
};

}  // namespace patella::sidecar
