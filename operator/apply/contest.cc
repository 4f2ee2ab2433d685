#include "operator/apply/contest.h"

#include <nlohmann/json.hpp>

#include "lib/base/rfc3339.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::apply {
namespace {

using nlohmann::json;

constexpr char kType[] = "Contested";

bool StandsIn(std::string_view text) {
  if (text.find(kType) == std::string_view::npos) return false;
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  const json::json_pointer at("/status/conditions");
  if (!object.is_object() || !object.contains(at) || !object[at].is_array()) return false;
  for (const json& condition : object[at]) {
    if (condition.is_object() && condition.value("type", json()) == kType) return true;
  }
  return false;
}

}  // namespace

Contest::Contest(kube::Client* client, kube::Cache* objects, const Clock& clock, std::function<WallTime()> wall_time)
    : client_(client), objects_(objects), clock_(clock), wall_time_(std::move(wall_time)) {}

absl::Status Contest::Write(const kube::Object& object, const std::string& status) {
  const std::string body =
      StrCat(R"({"apiVersion":")", kube::ApiVersionOf(kube::kInferenceDeployments), R"(","kind":")",
             kube::kInferenceDeployments.kind, R"(","metadata":{"name":")", object.name(), R"(","namespace":")",
             object.namespace_name(), R"(","uid":")", object.uid(), R"("})", status, "}");
  const absl::StatusOr<kube::ObjectPtr> done =
      client_->Apply(kube::kInferenceDeployments, object.namespace_name(), object.name(), body,
                     {.manager = kContestManager, .force = true, .subresource = "status"});
  if (kube::IsNotFound(done.status())) return absl::OkStatus();  // deleted meanwhile
  if (!done.ok()) return done.status();
  objects_->Wrote(**done, clock_.Now());
  return absl::OkStatus();
}

absl::Status Contest::Tell(const kube::Object& object, const std::string& message) {
  if (StandsIn(object.json())) return absl::OkStatus();
  const json condition = {{"type", kType},
                          {"status", "True"},
                          {"reason", "AnotherOperator"},
                          {"message", message},
                          {"observedGeneration", object.generation()},
                          {"lastTransitionTime", Rfc3339(wall_time_())}};
  return Write(object, StrCat(R"(,"status":)", json{{"conditions", json::array({condition})}}.dump()));
}

absl::StatusOr<std::optional<Duration>> Contest::Clear(const kube::Object& object, bool over) {
  const TimePoint now = clock_.Now();
  {
    const std::lock_guard lock(mutex_);
    if (!StandsIn(object.json())) {
      since_.erase(object.key());
      return std::nullopt;
    }
    const TimePoint since = since_.try_emplace(object.key(), now).first->second;
    if (!over && now - since < kStale) return kStale - (now - since);
    since_.erase(object.key());
  }
  PATELLA_RETURN_IF_ERROR(Write(object, ""));
  return std::nullopt;
}

void Contest::Forget(const kube::ObjectKey& object) {
  const std::lock_guard lock(mutex_);
  since_.erase(object);
}

}  // namespace patella::apply
