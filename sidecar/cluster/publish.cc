#include "sidecar/cluster/publish.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "lib/base/rfc3339.h"
#include "lib/base/text.h"
#include "sidecar/cluster/objectives.h"

namespace patella::sidecar {
namespace {

constexpr size_t kDecisions = 10;
constexpr double kLeastSample_s = 1;  // of a rate: reports are snapshots of the last second
constexpr double kSlack = 0.05;       // of objectives that were met: what is measured moves by as much
// Reasons of the condition ObjectivesMet where replicas cannot meet the objectives together.
constexpr char kLatencyReason[] = "TargetBelowUnloadedLatency", kThroughputReason[] = "ThroughputOutOfReach",
               kCostReason[] = "CostOutOfReach";

std::string TimeText(int64_t seconds) {
  return Rfc3339(std::chrono::system_clock::time_point(std::chrono::seconds(seconds)));
}

const api::Condition* Find(const api::InferenceDeploymentStatus& status, const char* type) {
  for (const api::Condition& c : status.conditions) {
    if (c.type == type) return &c;
  }
  return nullptr;
}

api::Condition MakeCondition(const api::InferenceDeployment& object, const char* type, api::ConditionStatus status,
                             std::string reason, std::string message, int64_t wall_s) {
  const api::Condition* before = Find(object.status, type);
  const bool same = before != nullptr && before->status == status && !before->last_transition_time.empty();
  return {.type = type,
          .status = status,
          .observed_generation = object.metadata.generation,
          .last_transition_time = same ? before->last_transition_time : TimeText(wall_s),
          .reason = std::move(reason),
          .message = std::move(message)};
}

// By revision, the replicas that have a limit, ascending by it.
std::map<std::string, std::vector<const PeerReport*>> Tuned(const std::vector<PeerReport>& reports) {
  std::map<std::string, std::vector<const PeerReport*>> tuned;
  for (const PeerReport& r : reports) {
    if (r.limit > 0) tuned[r.revision].push_back(&r);
  }
  for (auto& [revision, replicas] : tuned) {
    std::sort(replicas.begin(), replicas.end(),
              [](const PeerReport* a, const PeerReport* b) { return a->limit < b->limit; });
  }
  return tuned;
}

// Less is asked of objectives that were within reach so far.
double SlackOf(const api::InferenceDeployment& object) {
  const api::Condition* before = Find(object.status, "ObjectivesMet");
  const bool out_of_reach =
      before != nullptr && before->status == api::ConditionStatus::kFalse &&
      (before->reason == kLatencyReason || before->reason == kThroughputReason || before->reason == kCostReason);
  return out_of_reach ? 0 : kSlack;
}

const char* ReasonOf(science::Shortfall shortfall) {
  if (shortfall == science::Shortfall::kLatency) return kLatencyReason;
  return shortfall == science::Shortfall::kThroughput ? kThroughputReason : kCostReason;
}

api::Condition ObjectivesMet(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports,
                             const science::Feasibility& judged, const TunerStory& story, int64_t wall_s) {
  using enum api::ConditionStatus;
  const auto condition = [&](api::ConditionStatus status, const char* reason, std::string message) {
    return MakeCondition(object, "ObjectivesMet", status, reason, std::move(message), wall_s);
  };
  if (judged.shortfall != science::Shortfall::kNone)
    return condition(kFalse, ReasonOf(judged.shortfall), judged.message);
  if (story.impossible_target) return condition(kFalse, kLatencyReason, story.problem);
  const api::ObjectivesSpec& wanted = object.spec.objectives;
  if (wanted.latency.empty()) {
    const bool none = !wanted.throughput.min_tokens_per_second && wanted.cost.max_per_hour.empty() &&
                      wanted.cost.max_per_million_tokens.empty();
    if (none) return condition(kTrue, "NoTargets", "no target is set");
    if (judged.limit == 0) return condition(kUnknown, "NotMeasured", "no replica has measured itself yet");
    return condition(
        kTrue, "WithinReach",
        absl::StrFormat("a replica gives %.0f tokens/s with %d requests at once; every target is within reach",
                        judged.tokens_per_second, judged.limit));
  }
  double worst = 0;
  const PeerReport* who = nullptr;
  for (const PeerReport& r : reports) {
    if (r.worst_target_ratio > worst) worst = r.worst_target_ratio, who = &r;
  }
  if (who == nullptr) {
    const bool learned = std::any_of(reports.begin(), reports.end(), [](const PeerReport& r) { return r.limit > 0; });
    return learned ? condition(kTrue, "HeldInCalibration",
                               "the limit held every latency target when it was measured; no traffic now")
                   : condition(kUnknown, "NotMeasured", "no replica has measured itself yet");
  }
  const std::string figure = absl::StrFormat("%.0f %% of the target", 100 * worst);
  if (worst > 1.05) return condition(kFalse, "TargetMissed", StrCat("replica ", who->pod, " is at ", figure));
  return condition(kTrue, "Held", "every latency target holds in present traffic");
}

api::Condition TunedCondition(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports,
                              const TunerStory& story, int64_t wall_s) {
  using enum api::ConditionStatus;
  const auto condition = [&](api::ConditionStatus status, const char* reason, std::string message) {
    return MakeCondition(object, "Tuned", status, reason, std::move(message), wall_s);
  };
  if (!story.problem.empty()) return condition(kFalse, "CalibrationFailed", story.problem);
  const auto with_limit =
      std::count_if(reports.begin(), reports.end(), [](const PeerReport& r) { return r.limit > 0; });
  if (with_limit == 0) return condition(kFalse, "Calibrating", "no replica has a limit yet");
  if (object.spec.tuning.mode == api::TuningMode::kOff)
    return condition(kTrue, "CeilingOnly", "tuning is off: the ceiling alone holds");
  return condition(kTrue, "LimitLearned", StrCat(with_limit, " of ", reports.size(), " replicas have a limit"));
}

}  // namespace

science::LoadSample Publisher::Load(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports,
                                    double now_s) {
  science::LoadSample load{.replicas = object.spec.replicas};
  int64_t admitted = 0, rejected = 0;
  std::map<std::string, Totals> totals;
  for (const PeerReport& r : reports) {
    load.in_flight += r.in_flight;
    totals[r.pod] = {r.admitted_total, r.rejected_total};
    const auto before = totals_.find(r.pod);
    if (before == totals_.end() || r.admitted_total < before->second.admitted) continue;  // new, or began anew
    admitted += r.admitted_total - before->second.admitted;
    rejected += r.rejected_total - before->second.rejected;
  }
  const double passed_s = now_s - sampled_s_;
  if (passed_s >= kLeastSample_s) {  // at the first sample 0: no pod was known
    admitted_per_second_ = static_cast<double>(admitted) / passed_s;
    rejected_per_second_ = static_cast<double>(rejected) / passed_s;
    totals_ = std::move(totals);
    sampled_s_ = now_s;
  }
  load.admitted_per_second = admitted_per_second_, load.rejected_per_second = rejected_per_second_;
  const auto tuned = Tuned(reports);
  if (const auto serving = tuned.find(ServingRevision(object, reports)); serving != tuned.end())
    load.limit = serving->second[(serving->second.size() - 1) / 2]->limit;
  return load;
}

void Publisher::Scaled(bool written) {
  if (!proposed_) return;
  if (written) {
    scale_decisions_.push_back(*std::move(proposed_));
    if (scale_decisions_.size() > kDecisions) scale_decisions_.erase(scale_decisions_.begin());
  } else {
    autoscaler_.NotDone();
  }
  proposed_.reset();
}

Publication Publisher::Publish(const api::InferenceDeployment& object, const std::vector<PeerReport>& reports,
                               const TunerStory& story, double now_s, int64_t wall_s) {
  Publication out;
  const science::LoadSample load = Load(object, reports, now_s);
  const api::ScalingSpec& scaling = object.spec.scaling;
  autoscaler_.SetConfig({.min_replicas = scaling.min_replicas,
                         .max_replicas = scaling.max_replicas,
                         .stabilization_s = static_cast<double>(scaling.scale_down_stabilization_seconds)});
  const science::ScaleDecision scale = autoscaler_.OnSample(load, now_s);
  const bool may_scale = scaling.mode == api::ScalingMode::kAuto && object.spec.tuning.mode == api::TuningMode::kAuto &&
                         !object.spec.paused;
  if (may_scale && scale.replicas != 0) {
    out.replicas = scale.replicas;
    proposed_ = api::Decision{.time = TimeText(wall_s),
                              .what = "replicas",
                              .from = StrCat(load.replicas),
                              .to = StrCat(scale.replicas),
                              .reason = scale.replicas > load.replicas ? "load" : "idle",
                              .evidence = scale.evidence};
  }

  api::InferenceDeploymentStatus status;
  std::string key;  // what people wait for
  for (const auto& [revision, replicas] : Tuned(reports)) {
    const PeerReport& middle = *replicas[(replicas.size() - 1) / 2];
    api::RevisionStatus r{
        .hash = revision, .limit = middle.limit, .bound_by = middle.bound_by, .confidence = middle.confidence};
    if (middle.calibrated_at_s > 0) r.calibrated_at = TimeText(middle.calibrated_at_s);
    StrAppend(&key, revision, "=", middle.limit, "/", middle.bound_by, " ");
    status.revisions.push_back(std::move(r));
  }
  for (const Decision& d : story.decisions) {
    status.decisions.push_back({.time = TimeText(static_cast<int64_t>(d.time_s)),
                                .what = d.what,
                                .from = StrCat(static_cast<int>(d.from)),
                                .to = StrCat(static_cast<int>(d.to)),
                                .reason = d.reason,
                                .evidence = d.evidence});
  }
  status.decisions.insert(status.decisions.end(), scale_decisions_.begin(), scale_decisions_.end());
  for (const api::Decision& d : object.status.decisions) {  // of those elected before
    const auto same = [&](const api::Decision& ours) {
      return ours.time == d.time && ours.what == d.what && ours.to == d.to;
    };
    if (std::none_of(status.decisions.begin(), status.decisions.end(), same)) status.decisions.push_back(d);
  }
  std::stable_sort(status.decisions.begin(), status.decisions.end(),
                   [](const api::Decision& a, const api::Decision& b) { return a.time > b.time; });  // newest first
  if (status.decisions.size() > kDecisions) status.decisions.resize(kDecisions);

  api::LiveStatus& live = status.live;
  double tokens = 0, weighted_ms = 0;
  for (const PeerReport& r : reports)
    tokens += r.tokens_per_second, weighted_ms += r.tokens_per_second * r.ms_per_token;
  live.tokens_per_second = api::ToDecimal(tokens, 1);
  if (tokens > 0) live.ms_per_token = api::ToDecimal(weighted_ms / tokens, 1);
  live.in_flight = load.in_flight;
  live.offered_per_second = api::ToDecimal(load.admitted_per_second + load.rejected_per_second, 1);
  live.rejected_per_second = api::ToDecimal(load.rejected_per_second, 1);
  if (load.limit > 0) live.desired_replicas = scale.desired;
  if (const double cost = CostPerHour(object); cost > 0) {
    live.cost_per_hour = api::ToDecimal(cost, 2);
    if (tokens > 0) live.cost_per_million_tokens = api::ToDecimal(cost / (3600 * tokens) * 1e6, 2);
  }
  live.observed_at = TimeText(wall_s);

  const science::Feasibility judged = Judge(object, reports, SlackOf(object));
  status.nearest_feasible = NearestFeasible(judged, object, ServingRevision(object, reports));
  status.conditions = {ObjectivesMet(object, reports, judged, story, wall_s),
                       TunedCondition(object, reports, story, wall_s)};
  for (const api::Condition& c : status.conditions) StrAppend(&key, c.type, "=", c.reason, " ");
  StrAppend(&key, "generation ", object.metadata.generation, " ", scale_decisions_.size(), " ",
            scale_decisions_.empty() ? "" : scale_decisions_.back().time);
  if (key == written_key_ && now_s < written_s_ + kPeriod_s) return out;
  written_key_ = key;
  written_s_ = now_s;
  out.status = std::move(status);
  return out;
}

}  // namespace patella::sidecar
