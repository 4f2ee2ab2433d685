#include "operator/reconcile/settings.h"

#include <algorithm>

#include "lib/api/to_science.h"
#include "lib/base/text.h"

namespace patella::reconcile {
namespace {

constexpr int kDefaultCeiling = 128;        // the engine's own default, TGI's
constexpr int kLeastStartSeconds = 600;     // image pull excluded: probes begin when the container runs
constexpr int kUnknownStartSeconds = 1800;  // 120 GB of weights
constexpr int kEngineDrainSeconds = 5;
constexpr int kDrainDelaySeconds = 5;     // until every node's proxy has heard that a pod ends
constexpr double kLoadGbPerSecond = 0.1;  // a slow network volume

}  // namespace

int EngineStartSeconds(const api::ModelSpec& model) {
  const absl::StatusOr<science::ModelShape> shape = api::ToModelShape(model);
  if (!shape.ok()) return kUnknownStartSeconds;
  return std::max(kLeastStartSeconds, static_cast<int>(science::WeightGb(*shape) / kLoadGbPerSecond) + 300);
}

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

std::vector<Env> EngineSettings(const Inputs& inputs, const Choice& choice, const std::string& model_id) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  const Placement& place = inputs.placement;
  std::vector<Env> env = {{"MODEL_ID", model_id},
                          {"SERVED_MODEL_NAME", spec.model.name},
                          {"HOSTNAME", place.engine_host},
                          {"PORT", StrCat(place.engine_port)}};
  if (spec.engine.type == api::EngineType::kPatella) {
    env.push_back({"CONTROL_SOCKET", place.control_socket});
    // The sidecar has drained before the engine is told to end: what is left then is nobody's.
    env.push_back({"DRAIN_SECONDS", StrCat(kEngineDrainSeconds)});
  }
  if (spec.tensor_parallel_size || !choice.accelerator_class.empty())
    env.push_back({"NUM_SHARD", StrCat(choice.tensor_parallel_size)});
  for (const api::EnvVar& own : spec.engine.env) {  // the user's come last and win
    std::erase_if(env, [&own](const Env& e) { return e.name == own.name; });
    env.push_back({own.name, own.value});
  }
  return env;
}

std::vector<std::string> EngineArgs(const Inputs& inputs, const Choice& choice, const std::string& model_id) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  std::vector<std::string> args;
  if (spec.engine.type == api::EngineType::kVllm) {
    // vLLM reads its limit only at start: it gets the ceiling, so that a cautious beginning can rise. kubelet expands the variable.
    args = {"--model",
            model_id,
            "--served-model-name",
            spec.model.name,
            "--host",
            inputs.placement.engine_host,
            "--port",
            StrCat(inputs.placement.engine_port),
            "--tensor-parallel-size",
            StrCat(choice.tensor_parallel_size),
            "--max-num-seqs",
            "$(MAX_CONCURRENT_REQUESTS)"};
  }
  args.insert(args.end(), spec.engine.args.begin(), spec.engine.args.end());
  return args;
}

std::vector<Env> SidecarSettings(const Inputs& inputs, const std::string& revision) {
  const Placement& place = inputs.placement;
  std::vector<Env> env = {{"ENGINE_URL", StrCat("http://", place.engine_host, ":", place.engine_port)},
                          {"ENGINE_TYPE", std::string(api::NameOf(inputs.deployment.spec.engine.type))},
                          {"LISTEN", place.listen},
                          {"ADMIN", place.admin},
                          {"DEPLOYMENT", inputs.deployment.metadata.name},
                          {"REVISION", revision},
                          {"STATE_DIR", place.state_dir}};
  if (inputs.deployment.spec.engine.type == api::EngineType::kPatella)
    env.push_back({"ENGINE_CONTROL_SOCKET", place.control_socket});
  if (!place.local) {
    env.push_back({"NAMESPACE", "metadata.namespace", Env::Source::kField});
    env.push_back({"POD_NAME", "metadata.name", Env::Source::kField});
  }
  return env;
}

std::vector<Env> LimitSettings(const Inputs& inputs) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  return {{"MODEL_NAME", spec.model.name},
          {"OBJECTIVES", ObjectivesJson(spec.objectives)},
          {"WORKLOAD_INPUT_TOKENS", StrCat(spec.workload.input_tokens)},
          {"WORKLOAD_OUTPUT_TOKENS", StrCat(spec.workload.output_tokens)},
          {"MAX_CONCURRENT_REQUESTS", StrCat(spec.max_concurrent_requests.value_or(0))},
          {kEngineCeiling, StrCat(spec.max_concurrent_requests.value_or(kDefaultCeiling))},
          {"TUNING_MODE", std::string(api::NameOf(spec.tuning.mode))},
          {"MAX_CALIBRATION_SECONDS", StrCat(spec.tuning.max_calibration_seconds)},
          {"QUEUE_MAX_REQUESTS", StrCat(spec.admission.queue.max_requests)},
          {"QUEUE_MAX_WAIT_MS", StrCat(spec.admission.queue.max_wait_ms)},
          {"DRAIN_SECONDS", StrCat(spec.drain_max_seconds)},
          {"DRAIN_DELAY_SECONDS", StrCat(kDrainDelaySeconds)},
          {"ENGINE_START_SECONDS", StrCat(EngineStartSeconds(spec.model))}};
}

}  // namespace patella::reconcile
