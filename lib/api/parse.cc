#include "lib/api/parse.h"

#include <fstream>
#include <sstream>

#include "lib/api/reader.h"
#include "lib/api/validate.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::api {
namespace {

constexpr size_t kMaxErrors = 20;
constexpr size_t kMaxFileBytes = 1 << 20;

constexpr TextRule kDnsLabel = {
    .max_length = 40,
    .required = true,
    .pattern = "[a-z]([-a-z0-9]*[a-z0-9])?",
    .expected = "a name of at most 40 lower-case letters, digits and dashes that begins with a letter"};
constexpr TextRule kUri = {.max_length = 1024,
                           .required = true,
                           .pattern = "(pvc|image|hf|file)://[^\\s]+",
                           .expected = "pvc://CLAIM/PATH, image://IMAGE, hf://OWNER/MODEL or file://PATH"};

void ReadMetadata(Section& s, Metadata* out) {
  s.Text("name", &out->name, kDnsLabel);
  s.Text("namespace", &out->namespace_name, {.max_length = 63});
  s.Map("labels", &out->labels);
  s.Map("annotations", &out->annotations);
  for (const char* added :
       {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences", "finalizers",
        "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generateName"}) {
    s.Ignore(added);
  }
}

void ReadModel(Section& s, ModelSpec* out) {
  s.Text("name", &out->name, {.required = true});
  s.Text("uri", &out->uri, kUri);
  s.Sub("tokenSecretRef", [out](Section& ref) {
    out->token_secret_ref.emplace();
    ref.Text("name", &out->token_secret_ref->name, {.required = true});
    ref.Text("key", &out->token_secret_ref->key, {.required = true});
  });
  s.Sub("shape", [out](Section& shape) {
    shape.Int("layers", &out->shape.layers, {.min = 1, .max = 1000});
    shape.Int("hiddenSize", &out->shape.hidden_size, {.min = 1, .max = 1'000'000});
    shape.Int("attentionHeads", &out->shape.attention_heads, {.min = 1, .max = 10'000});
    shape.Int("kvHeads", &out->shape.kv_heads, {.min = 1, .max = 10'000});
    shape.Int("headSize", &out->shape.head_size, {.min = 1, .max = 10'000});
    shape.Int("vocabularySize", &out->shape.vocabulary_size, {.min = 1, .max = 10'000'000});
    shape.Int("parametersMillions", &out->shape.parameters_millions, {.min = 1, .max = 10'000'000});
  });
}

void ReadEngine(Section& s, EngineSpec* out) {
  s.Enum("type", &out->type);
  s.Text("image", &out->image, {.max_length = 512});
  s.TextList("args", &out->args, 64, {.max_length = 1024});
  s.SubList("env", 64, [out](Section& variable) {
    EnvVar value;
    variable.Text(
        "name", &value.name,
        {.required = true, .pattern = "[A-Za-z_][A-Za-z0-9_]*", .expected = "a name of an environment variable"});
    variable.Text("value", &value.value, {.max_length = 4096});
    out->env.push_back(value);
  });
}

void ReadObjectives(Section& s, ObjectivesSpec* out) {
  s.Enum("prefer", &out->prefer);
  s.SubList("latency", 8, [out](Section& item) {
    LatencyObjective objective;
    item.Enum("metric", &objective.metric, true);
    item.DecimalText("quantile", &objective.quantile, {.min = 0, .max = 1, .exclusive = true});
    item.Int("targetMs", &objective.target_ms, {.min = 1, .max = 3'600'000, .unit = "milliseconds", .required = true});
    out->latency.push_back(objective);
  });
  s.Sub("throughput", [out](Section& t) {
    t.Int("minTokensPerSecond", &out->throughput.min_tokens_per_second, {.min = 1, .max = 100'000'000});
  });
  s.Sub("cost", [out](Section& c) {
    c.DecimalText("maxPerHour", &out->cost.max_per_hour, {.example = "40.00"});
    c.DecimalText("maxPerMillionTokens", &out->cost.max_per_million_tokens, {.example = "2.50"});
  });
  s.Sub("knee", [out](Section& k) {
    k.Enum("definition", &out->knee.definition);
    k.DecimalText("utilization", &out->knee.utilization, {.min = 0, .max = 1, .exclusive = true, .example = "0.7"});
  });
}

void ReadTuning(Section& s, TuningSpec* out) {
  s.Enum("mode", &out->mode);
  s.Int("maxCalibrationSeconds", &out->max_calibration_seconds, {.min = 5, .max = 3600, .unit = "seconds"});
  s.Sub("explore", [out](Section& e) {
    e.Bool("enabled", &out->explore.enabled);
    e.Int("maxSecondsPerTrial", &out->explore.max_seconds_per_trial, {.min = 30, .max = 86'400, .unit = "seconds"});
    e.Bool("provisionNodes", &out->explore.provision_nodes);
  });
}

void ReadPod(Section& s, PodSpec* out) {
  s.Map("labels", &out->labels);
  s.Map("annotations", &out->annotations);
  s.Map("nodeSelector", &out->node_selector);
  s.Raw("tolerations", &out->tolerations, true);
  s.Raw("affinity", &out->affinity, false);
  s.Raw("topologySpreadConstraints", &out->topology_spread_constraints, true);
  s.Text("priorityClassName", &out->priority_class_name);
  s.Text("serviceAccountName", &out->service_account_name);
  s.Raw("imagePullSecrets", &out->image_pull_secrets, true);
  s.Raw("volumes", &out->volumes, true);
  s.Raw("resources", &out->resources, false);
}

void ReadPolicies(Section& s, InferenceDeploymentSpec* out) {
  s.Sub("tuning", [out](Section& t) { ReadTuning(t, &out->tuning); });
  s.Sub("scaling", [out](Section& t) {
    t.Enum("mode", &out->scaling.mode);
    t.Int("minReplicas", &out->scaling.min_replicas, {.min = 0, .max = 1000});
    t.Int("maxReplicas", &out->scaling.max_replicas, {.min = 1, .max = 1000});
    t.Int("scaleDownStabilizationSeconds", &out->scaling.scale_down_stabilization_seconds,
          {.max = 86'400, .unit = "seconds"});
  });
  s.Sub("admission", [out](Section& a) {
    a.Sub("queue", [out](Section& q) {
      q.Int("maxRequests", &out->admission.queue.max_requests, {.max = 100'000});
      q.Int("maxWaitMs", &out->admission.queue.max_wait_ms, {.max = 600'000, .unit = "milliseconds"});
    });
    a.Enum("overflow", &out->admission.overflow);
  });
  s.Sub("drain",
        [out](Section& d) { d.Int("maxSeconds", &out->drain_max_seconds, {.max = 86'400, .unit = "seconds"}); });
  s.Enum("updatePolicy", &out->update_policy);
  s.Bool("paused", &out->paused);
}

void ReadSpec(Section& s, InferenceDeploymentSpec* out) {
  s.Sub(
      "model", [out](Section& m) { ReadModel(m, &out->model); }, true);
  s.Sub("engine", [out](Section& e) { ReadEngine(e, &out->engine); });
  s.Sub("hardware", [out](Section& h) {
    h.TextList("acceleratorClasses", &out->hardware.accelerator_classes, 32, kDnsLabel);
    h.Int("maxAcceleratorsPerReplica", &out->hardware.max_accelerators_per_replica, {.min = 1, .max = 64});
    h.Int("maxAccelerators", &out->hardware.max_accelerators, {.min = 1, .max = 100'000});
  });
  s.Int("tensorParallelSize", &out->tensor_parallel_size, {.min = 1, .max = 64});
  s.Sub("workload", [out](Section& w) {
    w.Int("inputTokens", &out->workload.input_tokens, {.min = 1, .max = 1'000'000, .unit = "tokens"});
    w.Int("outputTokens", &out->workload.output_tokens, {.min = 2, .max = 1'000'000, .unit = "tokens"});
  });
  s.Sub("objectives", [out](Section& o) { ReadObjectives(o, &out->objectives); });
  ReadPolicies(s, out);
  s.Sub("pod", [out](Section& p) { ReadPod(p, &out->pod); });
  s.Int("maxConcurrentRequests", &out->max_concurrent_requests, {.min = 1, .max = 100'000});
  s.Int("replicas", &out->replicas, {.min = 0, .max = 1000});
}

void ReadAccelerator(Section& s, AcceleratorClass* out) {
  s.Int("memoryGiB", &out->memory_gib, {.min = 1, .max = 4096, .unit = "GiB", .required = true});
  s.Int("memoryBandwidthGBps", &out->memory_bandwidth_gbps,
        {.min = 1, .max = 100'000, .unit = "GB/s", .required = true});
  s.Int("fp16TFLOPS", &out->fp16_tflops, {.min = 1, .max = 100'000, .unit = "TFLOPS", .required = true});
  s.Int("interconnectGBps", &out->interconnect_gbps, {.max = 100'000, .unit = "GB/s"});
  s.Int("acceleratorsPerNode", &out->accelerators_per_node, {.min = 1, .max = 64});
  s.Text("resourceName", &out->resource_name);
  s.Map("nodeSelector", &out->node_selector);
  s.DecimalText("pricePerNodeHour", &out->price_per_node_hour, {.example = "32.77"});
}

// The node that a violation's path names, or the nearest one above it that is there, for the line.
YAML::Node NodeAt(const YAML::Node& root, std::string_view path) {
  YAML::Node at = root;
  for (std::string_view part : Split(path, '.')) {
    const std::string key(part.substr(0, part.find('[')));
    YAML::Node next = at.IsMap() ? at[key] : YAML::Node(YAML::NodeType::Undefined);
    if (!next.IsDefined()) return at;
    at.reset(next);
    int64_t index = 0;
    if (const size_t open = part.find('['); open != std::string_view::npos && at.IsSequence() &&
                                            ParseInt(part.substr(open + 1, part.size() - open - 2), &index)) {
      at.reset(at[static_cast<size_t>(index)]);
    }
  }
  return at;
}

template <typename T>
void ReadObject(const YAML::Node& document, Section& root, T* out, ErrorList* errors,
                void (*read)(Section&, decltype(out))) {
  const size_t before = errors->lines().size();
  root.Sub(
      "metadata", [out](Section& m) { ReadMetadata(m, &out->metadata); }, true);
  read(root, out);
  root.Ignore("status");
  root.Finish();
  if (errors->lines().size() > before) return;
  for (const Violation& violation : Validate(*out))
    errors->Add(violation.path, NodeAt(document, violation.path), violation.message);
}

void ReadDocument(const YAML::Node& document, ErrorList* errors, std::vector<Object>* out) {
  Section root(document, "", errors);
  if (!root.valid()) return;
  std::string version, kind;
  root.Text("apiVersion", &version, {.required = true});
  root.Text("kind", &kind, {.required = true});
  if (!version.empty() && version != kApiVersion) {
    return errors->Add("apiVersion", document["apiVersion"],
                       StrCat("expected ", kApiVersion, ", found \"", version, "\""));
  }
  if (kind == "InferenceDeployment") {
    InferenceDeployment object;
    ReadObject<InferenceDeployment>(document, root, &object, errors, [](Section& s, InferenceDeployment* o) {
      s.Sub(
          "spec", [o](Section& spec) { ReadSpec(spec, &o->spec); }, true);
    });
    out->push_back(std::move(object));
  } else if (kind == "AcceleratorClass") {
    AcceleratorClass object;
    ReadObject<AcceleratorClass>(document, root, &object, errors, [](Section& s, AcceleratorClass* o) {
      s.Sub(
          "spec", [o](Section& spec) { ReadAccelerator(spec, o); }, true);
    });
    out->push_back(std::move(object));
  } else if (!kind.empty()) {
    const std::string near = NearMiss(kind, {"InferenceDeployment", "AcceleratorClass"});
    errors->Add("kind", document["kind"],
                StrCat("expected InferenceDeployment or AcceleratorClass, found \"", kind, "\"",
                       near.empty() ? "" : "; did you mean ", near, near.empty() ? "" : "?"));
  }
}

absl::Status ToStatus(const std::vector<std::string>& lines) {
  std::string message;
  for (size_t i = 0; i < lines.size() && i < kMaxErrors; ++i) StrAppend(&message, i ? "\n" : "", lines[i]);
  if (lines.size() > kMaxErrors) StrAppend(&message, "\n… and ", lines.size() - kMaxErrors, " more");
  return absl::InvalidArgumentError(message);
}

}  // namespace

double ToDouble(const Decimal& decimal) {
  double value = 0;
  return ParseDouble(decimal, &value) ? value : 0;
}

absl::StatusOr<std::vector<Object>> Parse(std::string_view text, std::string_view file_name) {
  std::vector<Object> objects;
  ErrorList errors(file_name);
  try {
    for (const YAML::Node& document : YAML::LoadAll(std::string(text))) {
      if (!document.IsNull()) ReadDocument(document, &errors, &objects);
    }
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(StrCat("not YAML: ", e.msg, " (", file_name, ":", e.mark.line + 1, ")"));
  }
  if (!errors.lines().empty()) return ToStatus(errors.lines());
  if (objects.empty()) return absl::InvalidArgumentError(StrCat("the file holds no object (", file_name, ")"));
  return objects;
}

absl::StatusOr<std::vector<Object>> ParseFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(StrCat(path, ": cannot be opened: check the path given with -f"));
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.gcount() == 0 && !file.eof()))
    return absl::NotFoundError(StrCat(path, ": cannot be read: is it a directory?"));
  if (static_cast<size_t>(file.gcount()) > kMaxFileBytes)
    return absl::InvalidArgumentError(StrCat(path, ": is larger than 1 MiB"));
  text.resize(static_cast<size_t>(file.gcount()));
  const size_t slash = path.rfind('/');
  return Parse(text, slash == std::string::npos ? path : path.substr(slash + 1));
}

absl::StatusOr<InferenceDeployment> ParseOneDeployment(const std::string& path) {
  PATELLA_ASSIGN_OR_RETURN(const std::vector<Object> objects, ParseFile(path));
  const InferenceDeployment* found = nullptr;
  for (const Object& object : objects) {
    const auto* deployment = std::get_if<InferenceDeployment>(&object);
    if (deployment == nullptr) continue;
    if (found != nullptr)
      return absl::InvalidArgumentError(
          StrCat(path, ": holds more than one InferenceDeployment; one is served at a time"));
    found = deployment;
  }
  if (found == nullptr) return absl::InvalidArgumentError(StrCat(path, ": holds no InferenceDeployment"));
  return *found;
}

}  // namespace patella::api
