#include "lib/base/text.h"
#include "operator/reconcile/reconcile.h"

namespace patella::reconcile {
namespace {

constexpr int kDefaultCeiling = 128;  // the engine's own default, TGI's

int CeilingOf(const api::InferenceDeploymentSpec& spec) {
  return spec.max_concurrent_requests.value_or(kDefaultCeiling);
}

}  // namespace

std::string ObjectivesJson(const api::ObjectivesSpec& objectives) {
  std::string out = "{\"latency\":[";
  for (size_t i = 0; i < objectives.latency.size(); ++i) {
    const api::LatencyObjective& o = objectives.latency[i];
    StrAppend(&out, i ? "," : "", "{\"metric\":\"", api::NameOf(o.metric), "\",\"quantile\":\"", o.quantile,
              "\",\"targetMs\":", o.target_ms, "}");
  }
  StrAppend(&out, "],\"knee\":{\"definition\":\"", api::NameOf(objectives.knee.definition), "\"");
  if (objectives.knee.definition == api::KneeDefinition::kUtilization) {
    StrAppend(&out, ",\"utilization\":\"", objectives.knee.utilization.empty() ? "0.7" : objectives.knee.utilization,
              "\"");
  }
  return out + "}}";
}

std::vector<Env> EngineSettings(const Inputs& inputs) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  const Placement& place = inputs.placement;
  std::vector<Env> env = {{"MODEL_ID", place.model_path},
                          {"SERVED_MODEL_NAME", spec.model.name},
                          {"HOSTNAME", place.engine_host},
                          {"PORT", StrCat(place.engine_port)},
                          {"MAX_CONCURRENT_REQUESTS", StrCat(CeilingOf(spec))}};
  if (spec.engine.type == api::EngineType::kPatella) env.push_back({"CONTROL_SOCKET", place.control_socket});
  if (spec.tensor_parallel_size) env.push_back({"NUM_SHARD", StrCat(*spec.tensor_parallel_size)});
  for (const api::EnvVar& own : spec.engine.env) {  // the user's come last and win
    std::erase_if(env, [&own](const Env& e) { return e.name == own.name; });
    env.push_back({own.name, own.value});
  }
  return env;
}

std::vector<Env> SidecarSettings(const Inputs& inputs, const std::string& revision) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  const Placement& place = inputs.placement;
  std::vector<Env> env = {{"ENGINE_URL", StrCat("http://", place.engine_host, ":", place.engine_port)},
                          {"ENGINE_TYPE", std::string(api::NameOf(spec.engine.type))},
                          {"LISTEN", place.listen},
                          {"ADMIN", place.admin},
                          {"MODEL_NAME", spec.model.name},
                          {"DEPLOYMENT", inputs.deployment.metadata.name},
                          {"REVISION", revision},
                          {"OBJECTIVES", ObjectivesJson(spec.objectives)},
                          {"WORKLOAD_INPUT_TOKENS", StrCat(spec.workload.input_tokens)},
                          {"WORKLOAD_OUTPUT_TOKENS", StrCat(spec.workload.output_tokens)},
                          {"MAX_CONCURRENT_REQUESTS", StrCat(spec.max_concurrent_requests.value_or(0))},
                          {"TUNING_MODE", std::string(api::NameOf(spec.tuning.mode))},
                          {"MAX_CALIBRATION_SECONDS", StrCat(spec.tuning.max_calibration_seconds)},
                          {"QUEUE_MAX_REQUESTS", StrCat(spec.admission.queue.max_requests)},
                          {"QUEUE_MAX_WAIT_MS", StrCat(spec.admission.queue.max_wait_ms)},
                          {"DRAIN_SECONDS", StrCat(spec.drain_max_seconds)},
                          {"STATE_DIR", place.state_dir}};
  if (spec.engine.type == api::EngineType::kPatella) env.push_back({"ENGINE_CONTROL_SOCKET", place.control_socket});
  return env;
}

}  // namespace patella::reconcile
