#include "lib/adapters/discover.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "lib/base/text.h"
#include "nlohmann/json.hpp"

namespace patella::adapters {
namespace {

using nlohmann::json;

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

int PositiveInt(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return 0;
  return std::max(0, found->get<int>());
}

std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// The value of label `name` in a line of Prometheus text, or "".
std::string_view Label(std::string_view line, std::string_view name) {
  const std::string key = StrCat(name, "=\"");
  const size_t begin = line.find(key);
  if (begin == std::string_view::npos) return "";
  const size_t value = begin + key.size();
  return line.substr(value, line.find('"', value) - value);
}

int LabelInt(std::string_view line, std::string_view name) {
  int value = 0;
  return absl::SimpleAtoi(ToAbsl(Label(line, name)), &value) ? value : 0;
}

// GETs url's origin + path; only a 200 has a body here.
absl::StatusOr<std::string> Get(const EngineTarget& target, std::string_view path, Duration timeout) {
  http::Request request;
  if (!target.authorization.empty()) request.headers.Set("Authorization", target.authorization);
  const std::string url = StrCat("http://", target.host, ":", target.port, target.path_prefix, path);
  absl::StatusOr<http::Response> response = http::Fetch(url, request, timeout);
  if (!response.ok()) return response.status();
  if (response->status != 200) return absl::NotFoundError(StrCat(url, " answers ", response->status));
  return std::move(response->body);
}

// Who wrote the list of models: servers sign it in owned_by.
EngineKind KindOfModels(std::string_view body) {
  if (Contains(body, "\"vllm\"")) return EngineKind::kVllm;
  if (Contains(body, "\"patella\"")) return EngineKind::kPatella;
  return EngineKind::kOpenAi;
}

absl::Status NobodyThere(const http::Url& url, const absl::Status& cause) {
  return absl::UnavailableError(StrCat("nobody answers at http://", url.host, ":", url.port, " (", cause.message(),
                                       "): is the server running, and is this its port?"));
}

}  // namespace

absl::StatusOr<std::string> FirstModel(std::string_view v1_models_json) {
  const json parsed = json::parse(v1_models_json, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_object() && parsed.contains("data") && parsed["data"].is_array() && !parsed["data"].empty() &&
      parsed["data"][0].is_object()) {
    const std::string id = Text(parsed["data"][0], "id");
    if (!id.empty()) return id;
  }
  return absl::NotFoundError("/v1/models names no model");
}

void ReadInfo(std::string_view info_json, Discovery& discovery) {
  const json info = json::parse(info_json, nullptr, /*allow_exceptions=*/false);
  if (!info.is_object()) return;
  if (discovery.target.model.empty()) discovery.target.model = Text(info, "model_id");
  discovery.version = Text(info, "version");
  discovery.max_concurrent_requests = PositiveInt(info, "max_concurrent_requests");
  discovery.max_total_tokens = PositiveInt(info, "max_total_tokens");
  discovery.kv_capacity_tokens = PositiveInt(info, "kv_capacity_tokens");
  if (discovery.kv_capacity_tokens == 0) discovery.kv_capacity_tokens = PositiveInt(info, "max_batch_total_tokens");
}

void ReadMetrics(std::string_view prometheus_text, Discovery& discovery) {
  while (!prometheus_text.empty()) {
    const size_t end = std::min(prometheus_text.find('\n'), prometheus_text.size());
    const std::string_view line = prometheus_text.substr(0, end);
    prometheus_text.remove_prefix(std::min(end + 1, prometheus_text.size()));
    if (line.starts_with("vllm:cache_config_info{")) {
      const int tokens = LabelInt(line, "block_size") * LabelInt(line, "num_gpu_blocks");
      if (tokens > 0) discovery.kv_capacity_tokens = tokens;
    } else if (line.starts_with("patella_engine_kv_capacity_tokens")) {
      double tokens = 0;
      if (absl::SimpleAtod(ToAbsl(line.substr(line.rfind(' ') + 1)), &tokens)) {
        discovery.kv_capacity_tokens = static_cast<int>(tokens);
      }
    }
  }
}

absl::StatusOr<Discovery> Detect(std::string_view url_text, Duration timeout) {
  absl::StatusOr<http::Url> url = http::ParseUrl(url_text);
  if (!url.ok()) return url.status();
  Discovery found;
  found.target.host = url->host;
  found.target.port = url->port;
  found.target.path_prefix = url->path.substr(0, url->path.find_last_not_of('/') + 1);
  if (found.target.path_prefix.ends_with("/v1")) {  // people paste OpenAI's base URL
    found.target.path_prefix.resize(found.target.path_prefix.size() - 3);
  }

  absl::StatusOr<std::string> info = Get(found.target, "/info", timeout);
  if (!info.ok() && !absl::IsNotFound(info.status())) return NobodyThere(*url, info.status());
  absl::StatusOr<std::string> models = Get(found.target, "/v1/models", timeout);
  const bool is_tgi = info.ok() && Contains(*info, "\"model_id\"");
  if (is_tgi) ReadInfo(*info, found);
  if (models.ok()) {
    found.target.kind = KindOfModels(*models);
    if (absl::StatusOr<std::string> id = FirstModel(*models); id.ok()) found.target.model = *id;
  }
  if (is_tgi && found.target.kind != EngineKind::kPatella) found.target.kind = EngineKind::kTgi;
  if (is_tgi && Contains(*info, "patella")) found.target.kind = EngineKind::kPatella;
  if (!is_tgi && !models.ok()) {
    return absl::FailedPreconditionError(
        StrCat("http://", url->host, ":", url->port,
               " answers, but has neither /info (TGI, Patella) nor /v1/models (OpenAI, "
               "vLLM): is this the port of an inference server?"));
  }
  if (absl::StatusOr<std::string> metrics = Get(found.target, "/metrics", timeout); metrics.ok()) {
    ReadMetrics(*metrics, found);
  }
  return found;
}

}  // namespace patella::adapters
