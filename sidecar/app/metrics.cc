#include "sidecar/app/metrics.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "lib/metrics/metrics.h"
#include "sidecar/proxy/proxy.h"

namespace patella::sidecar {
namespace {

constexpr std::array kStates = {TunerState::kBoot,   TunerState::kWarmUp, TunerState::kRamp,
                                TunerState::kVerify, TunerState::kReady,  TunerState::kDegraded};
constexpr std::array kRefusals = {Refusal::kLimit, Refusal::kQueueTimeout, Refusal::kNotReady, Refusal::kDraining};
constexpr std::array kLiveDecisions = {"track", "guard"};
constexpr std::array kTargetGauges = {"patella_slo_attainment_ratio", "patella_slo_target_ratio",
                                      "patella_slo_target_seconds"};
constexpr double kAttainmentMemory = 0.02;  // weight of the newest request: the last 50 or so count

bool Meets(const StreamRecord& record, const science::Target& target) {
  switch (target.metric) {
    case science::LatencyMetric::kTimePerOutputToken:
      return !record.streamed || record.time_per_output_token_ms <= target.target_ms;
    case science::LatencyMetric::kTimeToFirstToken:
      return !record.streamed || record.time_to_first_token_ms <= target.target_ms;
    case science::LatencyMetric::kEndToEnd:
      break;
  }
  return record.end_to_end_ms <= target.target_ms;
}

}  // namespace

struct SidecarMetrics::Impl {
  explicit Impl(const metrics::Labels& labels) : all("patella-sidecar", PATELLA_VERSION, labels) {}

  // The gauges are of these targets alone. One that is gone, or was changed, would leave a figure behind that stands still, and an alert
  // on it would never clear.
  void Follow(const std::vector<science::Target>& wanted) {
    if (wanted == targets) return;
    for (const science::Target& target : targets) {
      if (std::find(wanted.begin(), wanted.end(), target) != wanted.end()) continue;
      for (const char* gauge : kTargetGauges) all.RemoveGauge(gauge, {{"slo", NameOf(target)}});
      attainment.erase(NameOf(target));
    }
    targets = wanted;
  }

  // A definition that no longer applies (the last target was taken away) leaves no knee behind either.
  void Show(const std::vector<KneeView>& knees) {
    std::set<std::string> gone = std::exchange(definitions, {});
    for (const KneeView& knee : knees) {
      all.GetGauge("patella_knee_concurrency", {{"definition", knee.definition}}).Set(knee.concurrency);
      definitions.insert(knee.definition);
      gone.erase(knee.definition);
    }
    for (const std::string& definition : gone)
      all.RemoveGauge("patella_knee_concurrency", {{"definition", definition}});
  }

  metrics::Metrics all;
  metrics::Counter admitted =
      all.GetCounter("patella_admission_total", {{"outcome", "admitted"}, {"reason", "permit"}});
  metrics::Counter prompt_tokens = all.GetCounter("patella_prompt_tokens_total");
  metrics::Counter cached_tokens = all.GetCounter("patella_cached_prompt_tokens_total");
  metrics::Counter output_tokens = all.GetCounter("patella_generation_tokens_total");
  metrics::Counter goodput = all.GetCounter("patella_goodput_tokens_total");
  metrics::Counter disconnects = all.GetCounter("patella_client_disconnects_total");
  metrics::Counter probe_tokens = all.GetCounter("patella_probe_tokens_total");
  metrics::Counter probe_seconds = all.GetCounter("patella_probe_seconds_total");
  metrics::Histogram first_token = all.GetHistogram("patella_time_to_first_token_seconds");
  metrics::Histogram gap = all.GetHistogram("patella_inter_token_latency_seconds");
  metrics::Histogram per_token = all.GetHistogram("patella_time_per_output_token_seconds");
  metrics::Histogram request = all.GetHistogram("patella_e2e_request_latency_seconds");
  metrics::Histogram queue_time = all.GetHistogram("patella_queue_time_seconds");
  metrics::Gauge limit = all.GetGauge("patella_concurrency_limit");
  metrics::Gauge ceiling = all.GetGauge("patella_concurrency_ceiling");
  metrics::Gauge inflight = all.GetGauge("patella_inflight");
  metrics::Gauge queue = all.GetGauge("patella_queue");
  metrics::Gauge residual = all.GetGauge("patella_model_residual_ratio");
  std::vector<science::Target> targets;      // as last followed
  std::map<std::string, double> attainment;  // by the target's name
  std::string bound_by;                      // as last exported
  std::set<std::string> definitions;         // of the knees last exported
};

SidecarMetrics::SidecarMetrics(const std::string& model, const std::string& deployment, const std::string& revision)
    : impl_(std::make_unique<Impl>(
          metrics::Labels{{"model_name", model}, {"deployment", deployment}, {"revision", revision}})) {
  // Series that begin at 0: what happens first is then seen as an increase. Prometheus cannot tell that from a counter that
  // appears with a 1.
  for (const Refusal refusal : kRefusals) {
    impl_->all.GetCounter("patella_admission_total",
                          {{"outcome", "rejected"}, {"reason", std::string(LabelOf(refusal))}});
  }
  for (const char* reason : kLiveDecisions) impl_->all.GetCounter("patella_decisions_total", {{"reason", reason}});
}

SidecarMetrics::~SidecarMetrics() = default;

metrics::Metrics& SidecarMetrics::all() { return impl_->all; }

void SidecarMetrics::OnAdmitted() { impl_->admitted.Add(); }

void SidecarMetrics::OnRefused(std::string_view reason) {
  impl_->all.GetCounter("patella_admission_total", {{"outcome", "rejected"}, {"reason", std::string(reason)}}).Add();
}

void SidecarMetrics::OnUpstreamError(std::string_view kind) {
  impl_->all.GetCounter("patella_upstream_errors_total", {{"kind", std::string(kind)}}).Add();
}

void SidecarMetrics::OnTokens(int tokens, double gap_ms) {
  impl_->output_tokens.Add(tokens);
  for (int i = 0; gap_ms > 0 && i < std::min(tokens, 16); ++i) impl_->gap.Observe(gap_ms / 1e3 / tokens);
}

void SidecarMetrics::OnFinished(const StreamRecord& record, const std::vector<science::Target>& targets) {
  Impl& m = *impl_;
  m.prompt_tokens.Add(record.prompt_tokens);
  m.cached_tokens.Add(record.cached_tokens);
  if (!record.streamed) m.output_tokens.Add(record.output_tokens);
  m.queue_time.Observe(record.queue_ms / 1e3);
  if (record.abandoned) m.disconnects.Add();
  if (!record.ok) return;
  m.request.Observe(record.end_to_end_ms / 1e3);
  if (record.time_to_first_token_ms > 0) m.first_token.Observe(record.time_to_first_token_ms / 1e3);
  if (record.time_per_output_token_ms > 0) m.per_token.Observe(record.time_per_output_token_ms / 1e3);
  m.Follow(targets);
  bool all = true;
  for (const science::Target& target : targets) {
    const bool met = Meets(record, target);
    all = all && met;
    double& share = m.attainment.try_emplace(NameOf(target), 1.0).first->second;
    share += kAttainmentMemory * ((met ? 1 : 0) - share);
    m.all.GetGauge("patella_slo_attainment_ratio", {{"slo", NameOf(target)}}).Set(share);
  }
  if (all) m.goodput.Add(record.output_tokens);
}

void SidecarMetrics::OnProbe(int streams, int failed, long tokens, double seconds) {
  impl_->probe_tokens.Add(static_cast<double>(tokens));
  impl_->probe_seconds.Add(seconds);
  impl_->all.GetCounter("patella_probe_requests_total", {{"outcome", "ok"}}).Add(std::max(0, streams - failed));
  impl_->all.GetCounter("patella_probe_requests_total", {{"outcome", "failed"}}).Add(failed);
}

void SidecarMetrics::OnDecision(std::string_view reason) {
  impl_->all.GetCounter("patella_decisions_total", {{"reason", std::string(reason)}}).Add();
}

std::string SidecarMetrics::Text(const TunerView& tuner, const LiveView& live) {
  Impl& m = *impl_;
  m.limit.Set(tuner.limit);
  m.ceiling.Set(tuner.ceiling);
  m.inflight.Set(live.inflight);
  m.queue.Set(live.queued);
  m.residual.Set(tuner.fit_error_ratio);
  for (const auto& [name, value] : {std::pair{"a_ms", tuner.a_ms}, {"b_ms", tuner.b_ms}, {"cap", tuner.cap}}) {
    m.all.GetGauge("patella_curve_parameter", {{"name", name}}).Set(value);
  }
  m.Show(tuner.knees);
  m.Follow(tuner.targets);
  for (const science::Target& target : tuner.targets) {
    m.all.GetGauge("patella_slo_target_seconds", {{"slo", NameOf(target)}}).Set(target.target_ms / 1e3);
    m.all.GetGauge("patella_slo_target_ratio", {{"slo", NameOf(target)}}).Set(target.quantile);
  }
  if (tuner.bound_by != m.bound_by) {
    if (!m.bound_by.empty()) m.all.GetGauge("patella_limit_bound_by", {{"by", m.bound_by}}).Set(0);
    m.bound_by = tuner.bound_by;
    if (!m.bound_by.empty()) m.all.GetGauge("patella_limit_bound_by", {{"by", m.bound_by}}).Set(1);
  }
  for (const TunerState state : kStates) {
    m.all.GetGauge("patella_tuner_state", {{"state", std::string(NameOf(state))}}).Set(tuner.state == state);
  }
  return m.all.Expose();
}

}  // namespace patella::sidecar
