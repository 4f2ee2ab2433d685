#include "sidecar/app/config.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/http/client.h"

namespace patella::sidecar {
namespace {

using nlohmann::json;

constexpr std::array kMetrics = {science::LatencyMetric::kTimePerOutputToken, science::LatencyMetric::kTimeToFirstToken,
                                 science::LatencyMetric::kEndToEnd};
constexpr std::array kKnees = {science::KneeDefinition::kHalfLatency, science::KneeDefinition::kKleinrock,
                               science::KneeDefinition::kUtilization};

absl::Status Wrong(const std::string& what, const std::string& expected) {
  return absl::InvalidArgumentError(absl::StrCat("OBJECTIVES: ", what, "; expected ", expected));
}

absl::Status CheckFields(const json& object, const std::string& where, std::initializer_list<const char*> known) {
  if (!object.is_object()) return Wrong(absl::StrCat(where, " is not an object"), "{…}");
  for (const auto& [name, value] : object.items()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return Wrong(absl::StrCat("unknown field ", where, ".", name), "one of the documented fields");
    }
  }
  return absl::OkStatus();
}

// A number between low and high, or the same as a decimal in a string.
absl::StatusOr<double> Decimal(const json& value, const std::string& where, double low, double high) {
  double number = 0;
  const bool parsed = value.is_number() ? (number = value.get<double>(), true)
                                        : value.is_string() && absl::SimpleAtod(value.get<std::string>(), &number);
  if (parsed && number > low && number < high) return number;
  return Wrong(absl::StrCat(where, " is ", value.dump()), absl::StrCat("a number between ", low, " and ", high));
}

template <typename T, size_t N>
absl::StatusOr<T> OneOf(const json& value, const std::string& where, const std::array<T, N>& known) {
  std::string all;
  for (const T one : known) {
    const std::string name(science::NameOf(one));
    if (value.is_string() && value.get<std::string>() == name) return one;
    absl::StrAppend(&all, all.empty() ? "" : " | ", name);
  }
  return Wrong(absl::StrCat(where, " is ", value.dump()), all);
}

absl::Status ParseTarget(const json& item, const std::string& where, TunerOptions& options) {
  PATELLA_RETURN_IF_ERROR(CheckFields(item, where, {"metric", "quantile", "targetMs"}));
  science::Target target;
  PATELLA_ASSIGN_OR_RETURN(target.metric, OneOf(item.value("metric", json()), where + ".metric", kMetrics));
  PATELLA_ASSIGN_OR_RETURN(target.quantile, Decimal(item.value("quantile", json(0.9)), where + ".quantile", 0, 1));
  PATELLA_ASSIGN_OR_RETURN(target.target_ms, Decimal(item.value("targetMs", json()), where + ".targetMs", 0, 1e8));
  options.targets.push_back(target);
  return absl::OkStatus();
}

}  // namespace

std::span<const Setting> SidecarSettings() {
  using enum SettingType;
  static const std::vector<Setting> kSettings = {
      {.name = "ENGINE_URL", .fallback = "http://127.0.0.1:3000", .help = "where the engine answers"},
      {.name = "ENGINE_TYPE",
       .fallback = "OpenAI",
       .help = "what kind of engine it is",
       .choices = {"Patella", "VLLM", "TGI", "OpenAI"}},
      {.name = "ENGINE_CONTROL_SOCKET", .help = "Unix socket of a Patella engine's control channel"},
      {.name = "ENGINE_START_SECONDS",
       .type = kInt,
       .fallback = "600",
       .help = "how long to wait for the engine to become healthy",
       .min = 1},
      {.name = "LISTEN", .fallback = "127.0.0.1:8080", .help = "address for clients; port 0: chosen by the kernel"},
      {.name = "ADMIN", .fallback = "127.0.0.1:8081", .help = "address for metrics, health and the status page"},
      {.name = "MODEL_NAME", .help = "the served model's name; default: what the engine says"},
      {.name = "DEPLOYMENT",
       .help = "name of the InferenceDeployment: label of the metrics, and what is followed in a cluster"},
      {.name = "REVISION", .help = "hash of the revision: label of the metrics, and of what is published"},
      {.name = "NAMESPACE", .help = "in a cluster: namespace of the InferenceDeployment; empty: on its own"},
      {.name = "POD_NAME", .help = "in a cluster: this replica's name"},
      {.name = "LOG_LEVEL", .fallback = "info", .help = "trace, debug, info, warn, error or off"},
      {.name = "KUBECONFIG",
       .help = "kubeconfig files, colon-separated; empty: the pod's service account, else ~/.kube/config"},
      {.name = "PEERS_LISTEN",
       .fallback = "0.0.0.0:8082",
       .help = "in a cluster: address for the other sidecars (gRPC)"},
      {.name = "PEERS",
       .help = "in a cluster: ADDRESS:PORT of the other sidecars, comma-separated; empty: the pods of the headless "
               "Service, at the port of PEERS_LISTEN"},
      {.name = "PEERS_CERTIFICATES",
       .fallback = "/etc/patella/peers",
       .help = "folder with ca.crt, tls.crt and tls.key for mutual TLS; \"none\": plain text, for loopback alone"},
      {.name = "OBJECTIVES", .help = "JSON: latency targets, and the knee where none binds"},
      {.name = "WORKLOAD_INPUT_TOKENS",
       .type = kInt,
       .fallback = "256",
       .help = "prompt of a typical request, tokens",
       .min = 1,
       .max = 1e6},
      {.name = "WORKLOAD_OUTPUT_TOKENS",
       .type = kInt,
       .fallback = "256",
       .help = "answer to a typical request, tokens",
       .min = 2,
       .max = 1e6},
      {.name = "MAX_CONCURRENT_REQUESTS",
       .type = kInt,
       .fallback = "0",
       .help = "ceiling that the limit never exceeds; 0: none",
       .max = 100000},
      {.name = "TUNING_MODE",
       .fallback = "Auto",
       .help = "Off enforces the ceiling alone",
       .choices = {"Auto", "Advise", "Off"}},
      {.name = "MAX_CALIBRATION_SECONDS",
       .type = kInt,
       .fallback = "90",
       .help = "budget of the calibration before ready",
       .min = 5,
       .max = 3600},
      {.name = "QUEUE_MAX_REQUESTS",
       .type = kInt,
       .fallback = "0",
       .help = "requests that may wait for a permit; 0: none",
       .max = 100000},
      {.name = "QUEUE_MAX_WAIT_MS",
       .type = kInt,
       .fallback = "0",
       .help = "how long one may wait, milliseconds",
       .max = 3.6e6},
      {.name = "DRAIN_SECONDS",
       .type = kInt,
       .fallback = "120",
       .help = "how long to wait for running requests at shutdown"},
      {.name = "DRAIN_DELAY_SECONDS",
       .type = kInt,
       .fallback = "0",
       .help = "how long newcomers are still served after GET /drain: until every node's proxy knows that the pod ends",
       .max = 300},
      {.name = "STATE_DIR", .help = "folder that keeps the learned limit over a restart"},
      {.name = "SEED", .type = kInt, .fallback = "1", .help = "of everything random"},
  };
  return kSettings;
}

absl::Status ParseObjectives(const std::string& text, TunerOptions& options) {
  if (text.empty()) return absl::OkStatus();
  const json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded())
    return Wrong("not JSON", R"({"latency":[{"metric":"TimePerOutputToken","quantile":"0.90","targetMs":50}]})");
  PATELLA_RETURN_IF_ERROR(CheckFields(root, "objectives", {"latency", "knee", "prefer", "throughput", "cost"}));
  const json latency = root.value("latency", json::array());
  if (!latency.is_array()) return Wrong("latency is " + latency.dump(), "a list");
  for (size_t i = 0; i < latency.size(); ++i) {
    PATELLA_RETURN_IF_ERROR(ParseTarget(latency[i], absl::StrCat("latency[", i, "]"), options));
  }
  if (!root.contains("knee")) return absl::OkStatus();
  const json& knee = root["knee"];
  PATELLA_RETURN_IF_ERROR(CheckFields(knee, "knee", {"definition", "utilization"}));
  PATELLA_ASSIGN_OR_RETURN(options.knee_definition,
                           OneOf(knee.value("definition", json("Utilization")), "knee.definition", kKnees));
  PATELLA_ASSIGN_OR_RETURN(options.knee_utilization,
                           Decimal(knee.value("utilization", json(0.7)), "knee.utilization", 0, 1));
  return absl::OkStatus();
}

absl::StatusOr<Config> ParseConfig(const Settings& settings) {
  Config config;
  PATELLA_ASSIGN_OR_RETURN(const http::Url url, http::ParseUrl(settings.String("ENGINE_URL")));
  config.engine_host = url.host;
  config.engine_port = url.port;
  config.engine_path_prefix = url.path == "/" ? "" : url.path;
  if (config.engine_path_prefix.ends_with('/')) config.engine_path_prefix.pop_back();
  PATELLA_ASSIGN_OR_RETURN(config.engine_kind, adapters::ParseEngineKind(settings.String("ENGINE_TYPE")));
  config.control_socket = settings.String("ENGINE_CONTROL_SOCKET");
  PATELLA_ASSIGN_OR_RETURN(config.listen, ParseAddress("LISTEN", settings.String("LISTEN")));
  PATELLA_ASSIGN_OR_RETURN(config.admin, ParseAddress("ADMIN", settings.String("ADMIN")));
  config.model = settings.String("MODEL_NAME");
  config.deployment = settings.String("DEPLOYMENT");
  config.revision = settings.String("REVISION");
  config.queue.max_requests = static_cast<int>(settings.Int("QUEUE_MAX_REQUESTS"));
  config.queue.max_wait = std::chrono::milliseconds(settings.Int("QUEUE_MAX_WAIT_MS"));
  config.engine_start_timeout = std::chrono::seconds(settings.Int("ENGINE_START_SECONDS"));
  config.drain_timeout = std::chrono::seconds(settings.Int("DRAIN_SECONDS"));
  config.drain_delay = std::chrono::seconds(settings.Int("DRAIN_DELAY_SECONDS"));
  config.state_dir = settings.String("STATE_DIR");
  ClusterOptions& cluster = config.cluster;
  cluster.namespace_name = settings.String("NAMESPACE");
  cluster.kubeconfig = settings.String("KUBECONFIG");
  cluster.deployment = config.deployment;
  cluster.revision = config.revision;
  cluster.pod = settings.String("POD_NAME");
  cluster.peers_listen = settings.String("PEERS_LISTEN");
  cluster.peers_certificates =
      settings.String("PEERS_CERTIFICATES") == "none" ? "" : settings.String("PEERS_CERTIFICATES");
  cluster.peers = settings.String("PEERS");
  if (!cluster.namespace_name.empty()) {
    if (cluster.deployment.empty() || cluster.revision.empty() || cluster.pod.empty()) {
      return absl::InvalidArgumentError(
          "NAMESPACE is set, so DEPLOYMENT, REVISION and POD_NAME must be too: which InferenceDeployment to follow, "
          "and as whom");
    }
    config.tuner.clustered = true;
    // The replicas are alike: where this one listens the others do.
    PATELLA_ASSIGN_OR_RETURN(const Address peers, ParseAddress("PEERS_LISTEN", cluster.peers_listen));
    if (cluster.peers.empty())
      cluster.peers = absl::StrCat(cluster.deployment, "-pods.", cluster.namespace_name, ".svc:", peers.port);
  }
  TunerOptions& tuner = config.tuner;
  PATELLA_RETURN_IF_ERROR(ParseObjectives(settings.String("OBJECTIVES"), tuner));
  const std::string& mode = settings.String("TUNING_MODE");
  tuner.mode = mode == "Auto" ? TuningMode::kAuto : mode == "Advise" ? TuningMode::kAdvise : TuningMode::kOff;
  tuner.input_tokens = static_cast<int>(settings.Int("WORKLOAD_INPUT_TOKENS"));
  tuner.output_tokens = static_cast<int>(settings.Int("WORKLOAD_OUTPUT_TOKENS"));
  tuner.ceiling = static_cast<int>(settings.Int("MAX_CONCURRENT_REQUESTS"));
  tuner.max_calibration_s = static_cast<double>(settings.Int("MAX_CALIBRATION_SECONDS"));
  tuner.seed = static_cast<uint64_t>(settings.Int("SEED"));
  return config;
}

}  // namespace patella::sidecar
