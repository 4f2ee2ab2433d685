#include "engine/serve/engine_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace patella::engine {
namespace {

const prometheus::Histogram::BucketBoundaries kSeconds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                          1,     2.5,    5,     10,   30,    60,   120, 300};
const prometheus::Histogram::BucketBoundaries kTokens = {1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

}  // namespace

struct EngineMetrics::Impl {
  prometheus::Registry registry;

  prometheus::Counter& Count(const char* name, const char* help, const prometheus::Labels& labels = {}) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
  }
  void Set(const char* name, const char* help, double value) {
    prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({}).Set(value);
  }
  void Raise(const char* name, const char* help, double total) {
    prometheus::Counter& counter = Count(name, help);
    counter.Increment(total - counter.Value());
  }
  void Observe(const char* name, const char* help, double value, const prometheus::Histogram::BucketBoundaries& buckets) {
    prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets).Observe(value);
  }
};

EngineMetrics::EngineMetrics() : impl_(std::make_unique<Impl>()) {}
EngineMetrics::~EngineMetrics() = default;

void EngineMetrics::CountRequest() { impl_->Count("tgi_request_count", "Generation requests received").Increment(); }

void EngineMetrics::CountFailure(std::string_view label) {
  impl_->Count("tgi_request_failure", "Generation requests that failed, by reason", {{"err", std::string(label)}}).Increment();
}

void EngineMetrics::CountSuccess(const RequestTimes& t) {
  impl_->Count("tgi_request_success", "Generation requests answered in full").Increment();
  impl_->Observe("tgi_request_duration", "Seconds from arrival to the last token", t.total_s, kSeconds);
  impl_->Observe("tgi_request_queue_duration", "Seconds from arrival to the first forward pass", t.queue_s, kSeconds);
  impl_->Observe("tgi_request_inference_duration", "Seconds from the first forward pass to the last token", t.inference_s, kSeconds);
  impl_->Observe("tgi_request_mean_time_per_token_duration", "Inference seconds per generated token",
                 t.inference_s / std::max(1, t.generated_tokens), kSeconds);
  impl_->Observe("tgi_request_input_length", "Prompt tokens", t.input_tokens, kTokens);
  impl_->Observe("tgi_request_generated_tokens", "Generated tokens", t.generated_tokens, kTokens);
  impl_->Observe("tgi_request_max_new_tokens", "Tokens asked for", t.max_new_tokens, kTokens);
  impl_->Observe("patella_engine_time_to_first_token_seconds", "Seconds from arrival to the first token", t.first_token_s, kSeconds);
}

std::string EngineMetrics::Render(const EngineStats& s, const LimitsInForce& limits, int in_flight) {
  const int64_t total = limits.limits.max_batch_total_tokens > 0 ? limits.limits.max_batch_total_tokens : s.schedule.capacity_tokens;
  impl_->Set("tgi_queue_size", "Sequences waiting", s.schedule.waiting);
  impl_->Set("tgi_batch_current_size", "Sequences in the last forward pass", s.schedule.running > 0 ? s.batch : 0);
  impl_->Set("tgi_batch_current_max_tokens", "KV tokens leased", static_cast<double>(s.schedule.leased_tokens));
  impl_->Set("tgi_batch_max_total_tokens", "KV tokens that may be leased", static_cast<double>(total));
  impl_->Set("patella_engine_running_requests", "Sequences running", s.schedule.running);
  impl_->Set("patella_engine_in_flight_requests", "Permits held", in_flight);
  impl_->Set("patella_engine_kv_capacity_tokens", "Tokens that the KV cache holds", static_cast<double>(s.schedule.capacity_tokens));
  impl_->Set("patella_engine_max_concurrent_requests", "Limit in force", limits.limits.max_concurrent_requests);
  impl_->Set("patella_engine_max_batch_prefill_tokens", "Limit in force", limits.limits.max_batch_prefill_tokens);
  impl_->Set("patella_engine_limits_generation", "Generation of the limits in force", static_cast<double>(limits.generation));
  impl_->Set("patella_engine_last_step_seconds", "Seconds of the last forward pass", s.last_step_ms / 1e3);
  impl_->Raise("patella_engine_steps_total", "Forward passes", static_cast<double>(s.steps));
  impl_->Raise("patella_engine_prompt_tokens_total", "Prompt tokens computed", static_cast<double>(s.prompt_tokens));
  impl_->Raise("patella_engine_generated_tokens_total", "Tokens generated", static_cast<double>(s.generated_tokens));
  impl_->Raise("patella_engine_preemptions_total", "Sequences preempted and recomputed", static_cast<double>(s.schedule.preemptions));
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace patella::engine
