#include "engine/serve/engine_metrics.h"

#include <algorithm>

#include "lib/base/error_kind.h"
#include "lib/metrics/metrics.h"

namespace patella::engine {

namespace {

// Of TGI's `method`: a step that computes prompt tokens is a prefill, decoding ones ride along.
struct StepMetrics {
  StepMetrics(metrics::Metrics& metrics, const char* method)
      : count(metrics.GetCounter("tgi_batch_inference_count", {{"method", method}})),
        success(metrics.GetCounter("tgi_batch_inference_success", {{"method", method}})),
        failure(metrics.GetCounter("tgi_batch_inference_failure", {{"method", method}})),
        total(metrics.GetHistogram("tgi_batch_inference_duration", {{"method", method}})),
        forward(metrics.GetHistogram("tgi_batch_forward_duration", {{"method", method}})),
        decode(metrics.GetHistogram("tgi_batch_decode_duration", {{"method", method}})),
        filter(metrics.GetHistogram("tgi_batch_filter_duration", {{"method", method}})),
        concat(metrics.GetHistogram("tgi_batch_concat_duration", {{"method", method}})) {}

  metrics::Counter count, success, failure;
  metrics::Histogram total, forward, decode, filter, concat;
};

}  // namespace

// Taken at start: what has not happened yet is exported as 0.
struct EngineMetrics::Impl {
  explicit Impl(const std::string& version) : metrics("patella-engine", version) {
    for (const ErrorKind kind : {ErrorKind::kOverloaded, ErrorKind::kValidation, ErrorKind::kGeneration})
      metrics.GetCounter("tgi_request_failure", {{"err", std::string(InfoOf(kind).metric_label)}});
    metrics.GetCounter("tgi_request_failure", {{"err", "dropped"}});
  }

  void Raise(const metrics::Counter& counter, double total) { counter.Add(std::max(0.0, total - counter.Value())); }

  metrics::Metrics metrics;
  metrics::Counter requests = metrics.GetCounter("tgi_request_count");
  metrics::Counter successes = metrics.GetCounter("tgi_request_success");
  metrics::Histogram duration = metrics.GetHistogram("tgi_request_duration");
  metrics::Histogram validation = metrics.GetHistogram("tgi_request_validation_duration");
  metrics::Histogram queue = metrics.GetHistogram("tgi_request_queue_duration");
  metrics::Histogram inference = metrics.GetHistogram("tgi_request_inference_duration");
  metrics::Histogram per_token = metrics.GetHistogram("tgi_request_mean_time_per_token_duration");
  metrics::Histogram first_token = metrics.GetHistogram("tgi_request_time_to_first_token_duration");
  metrics::Histogram input_length = metrics.GetHistogram("tgi_request_input_length");
  metrics::Histogram generated = metrics.GetHistogram("tgi_request_generated_tokens");
  metrics::Histogram asked = metrics.GetHistogram("tgi_request_max_new_tokens");
  metrics::Histogram skipped = metrics.GetHistogram("tgi_request_skipped_tokens");
  StepMetrics prefill_steps{metrics, "prefill"}, decode_steps{metrics, "decode"};
  metrics::Counter joined = metrics.GetCounter("tgi_batch_concat", {{"reason", "chunking"}});
  metrics::Histogram next_size = metrics.GetHistogram("tgi_batch_next_size");
  metrics::Gauge waiting = metrics.GetGauge("tgi_queue_size");
  metrics::Gauge batch = metrics.GetGauge("tgi_batch_current_size");
  metrics::Gauge leased = metrics.GetGauge("tgi_batch_current_max_tokens");
  metrics::Gauge most_leased = metrics.GetGauge("tgi_batch_max_total_tokens");
  metrics::Gauge running = metrics.GetGauge("patella_engine_running_requests");
  metrics::Gauge in_flight = metrics.GetGauge("patella_engine_in_flight_requests");
  metrics::Gauge capacity = metrics.GetGauge("patella_engine_kv_capacity_tokens");
  metrics::Gauge max_concurrent = metrics.GetGauge("patella_engine_max_concurrent_requests");
  metrics::Gauge max_prefill = metrics.GetGauge("patella_engine_max_batch_prefill_tokens");
  metrics::Gauge generation = metrics.GetGauge("patella_engine_limits_generation");
  metrics::Gauge last_step = metrics.GetGauge("patella_engine_last_step_seconds");
  metrics::Counter steps = metrics.GetCounter("patella_engine_steps_total");
  metrics::Counter prompt_tokens = metrics.GetCounter("patella_engine_prompt_tokens_total");
  metrics::Counter generated_tokens = metrics.GetCounter("patella_engine_generated_tokens_total");
  metrics::Counter preemptions = metrics.GetCounter("patella_engine_preemptions_total");
};

EngineMetrics::EngineMetrics(const std::string& version) : impl_(std::make_unique<Impl>(version)) {}
EngineMetrics::~EngineMetrics() = default;

void EngineMetrics::CountRequest() { impl_->requests.Add(); }

void EngineMetrics::CountAdmitted(double validation_s, std::span<const std::vector<int32_t>> prompts,
                                  int max_new_tokens) {
  impl_->validation.Observe(validation_s);
  for (const std::vector<int32_t>& prompt : prompts) {
    impl_->input_length.Observe(static_cast<double>(prompt.size()));
    impl_->asked.Observe(max_new_tokens);
  }
}

void EngineMetrics::CountStep(const StepReport& r) {
  const StepMetrics& m = r.prefill ? impl_->prefill_steps : impl_->decode_steps;
  m.count.Add();
  (r.ok ? m.success : m.failure).Add();
  if (r.admitted > 0) {
    impl_->next_size.Observe(r.admitted);
    if (r.admitted < r.batch) impl_->joined.Add();
  }
  if (!r.ok) return;
  m.total.Observe(r.plan_s + r.forward_s + r.sample_s + r.commit_s);
  m.concat.Observe(r.plan_s);
  m.forward.Observe(r.forward_s);
  m.decode.Observe(r.sample_s);
  m.filter.Observe(r.commit_s);
}

void EngineMetrics::CountFailure(std::string_view label) {
  impl_->metrics.GetCounter("tgi_request_failure", {{"err", std::string(label)}}).Add();
}

void EngineMetrics::CountSuccess(const RequestTimes& t) {
  impl_->successes.Add();
  impl_->duration.Observe(t.total_s);
  impl_->queue.Observe(t.queue_s);
  impl_->inference.Observe(t.inference_s);
  impl_->per_token.Observe(t.inference_s / std::max(1, t.generated_tokens));
  impl_->first_token.Observe(t.first_token_s);
  impl_->generated.Observe(t.generated_tokens);
  impl_->skipped.Observe(0);  // no prefix cache
}

std::string EngineMetrics::Render(const EngineStats& s, const LimitsInForce& limits, int in_flight) {
  const int64_t total =
      limits.limits.max_batch_total_tokens > 0 ? limits.limits.max_batch_total_tokens : s.schedule.capacity_tokens;
  impl_->waiting.Set(s.schedule.waiting);
  impl_->batch.Set(s.schedule.running > 0 ? s.batch : 0);
  impl_->leased.Set(static_cast<double>(s.schedule.leased_tokens));
  impl_->most_leased.Set(static_cast<double>(total));
  impl_->running.Set(s.schedule.running);
  impl_->in_flight.Set(in_flight);
  impl_->capacity.Set(static_cast<double>(s.schedule.capacity_tokens));
  impl_->max_concurrent.Set(limits.limits.max_concurrent_requests);
  impl_->max_prefill.Set(limits.limits.max_batch_prefill_tokens);
  impl_->generation.Set(static_cast<double>(limits.generation));
  impl_->last_step.Set(s.last_step_ms / 1e3);
  impl_->Raise(impl_->steps, static_cast<double>(s.steps));
  impl_->Raise(impl_->prompt_tokens, static_cast<double>(s.prompt_tokens));
  impl_->Raise(impl_->generated_tokens, static_cast<double>(s.generated_tokens));
  impl_->Raise(impl_->preemptions, static_cast<double>(s.schedule.preemptions));
  return impl_->metrics.Expose();
}

}  // namespace patella::engine
