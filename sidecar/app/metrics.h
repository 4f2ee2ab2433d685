// The sidecar's Prometheus metrics; names and help stand in lib/metrics/list.cc.
//
// Lives on the loop's thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/metrics/metrics.h"
#include "sidecar/app/status.h"
#include "sidecar/proxy/stream_meter.h"
#include "sidecar/tuner/view.h"

namespace patella::sidecar {

class SidecarMetrics {
 public:
  SidecarMetrics(const std::string& model, const std::string& deployment, const std::string& revision);
  ~SidecarMetrics();

  void OnAdmitted();
  void OnRefused(std::string_view reason);
  void OnUpstreamError(std::string_view kind);
  void OnTokens(int tokens, double gap_ms);  // gap 0: the first ones of a stream
  void OnFinished(const StreamRecord& record, const std::vector<science::Target>& targets);
  void OnProbe(int streams, int failed, long tokens, double seconds);
  void OnDecision(std::string_view reason);

  // For what else this process counts, under the same labels.
  metrics::Metrics& all();

  // The text that /metrics answers; gauges are taken from the views.
  std::string Text(const TunerView& tuner, const LiveView& live);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace patella::sidecar
