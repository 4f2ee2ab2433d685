#include "sidecar/app/status.h"

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/rfc3339.h"

namespace patella::sidecar {
namespace {

using nlohmann::json;

json Number(double value) { return std::isfinite(value) ? json(std::round(value * 1e4) / 1e4) : json(nullptr); }

json Curve(const TunerView& tuner) {
  json points = json::array();
  for (const science::CurvePoint& p : tuner.points) {
    points.push_back({{"concurrency", p.concurrency},
                      {"mean_ms_per_token", Number(p.mean_ms_per_token)},
                      {"tokens_per_second", Number(p.tokens_per_second)},
                      {"samples", p.samples}});
  }
  return {{"points", points},
          {"law", {{"a_ms", Number(tuner.a_ms)}, {"b_ms", Number(tuner.b_ms)}, {"cap", Number(tuner.cap)}}},
          {"fit_error_ratio", Number(tuner.fit_error_ratio)}};
}

json Lists(const TunerView& tuner) {
  json targets = json::array(), verify = json::array(), knees = json::array();
  for (const science::Target& t : tuner.targets) {
    targets.push_back(
        {{"metric", NameOf(t.metric)}, {"quantile", Number(t.quantile)}, {"target_ms", Number(t.target_ms)}});
  }
  for (const science::Verification& v : tuner.verify) {
    verify.push_back({{"concurrency", v.concurrency},
                      {"quantile_ms", Number(v.quantile_ms)},
                      {"mean_ms_per_token", Number(v.mean_ms_per_token)},
                      {"tokens_per_second", Number(v.tokens_per_second)},
                      {"passed", v.passed},
                      {"requests", v.requests}});
  }
  for (const KneeView& k : tuner.knees) {
    knees.push_back(
        {{"definition", k.definition}, {"concurrency", Number(k.concurrency)}, {"utilization", Number(k.utilization)}});
  }
  return {{"targets", targets}, {"verify", verify}, {"knees", knees}};
}

}  // namespace

std::string StatusJson(const TunerView& tuner, const std::vector<Decision>& decisions, const LiveView& live) {
  json status = Lists(tuner);
  status["state"] = NameOf(tuner.state);
  status["message"] = tuner.message;
  status["error"] = tuner.error;
  status["progress"] = {{"phase", tuner.progress.phase},
                        {"concurrency", tuner.progress.concurrency},
                        {"gap_ms", Number(tuner.progress.gap_ms)},
                        {"fraction", Number(tuner.progress.fraction)}};
  status["model"] = live.model;
  status["limit"] = tuner.limit;
  status["ceiling"] = tuner.ceiling;
  status["bound_by"] = tuner.bound_by;
  status["confidence"] = tuner.confidence;
  status["workload"] = {{"input_tokens", tuner.input_tokens}, {"output_tokens", tuner.output_tokens}};
  status["curve"] = Curve(tuner);
  json phases = json::array();
  for (const PhaseView& p : tuner.phases)
    phases.push_back({{"phase", p.phase}, {"seconds", Number(p.seconds)}, {"tokens", p.tokens}});
  status["calibration"] = {
      {"tokens", tuner.calibration_tokens}, {"seconds", Number(tuner.calibration_seconds)}, {"phases", phases}};
  status["inflight"] = live.inflight;
  status["queued"] = live.queued;
  status["admitted_total"] = live.admitted_total;
  status["rejected_total"] = live.rejected_total;
  status["live"] = {{"tokens_per_second", Number(live.tokens_per_second)},
                    {"p90_ms_per_token", Number(live.p90_ms_per_token)},
                    {"p90_ttft_ms", Number(live.p90_ttft_ms)}};
  status["engine"] = {{"running", live.engine_running},
                      {"waiting", live.engine_waiting},
                      {"kv_tokens_used", live.kv_tokens_used},
                      {"kv_tokens_capacity", live.kv_tokens_capacity}};
  status["decisions"] = json::array();
  for (const Decision& d : decisions) {
    const auto since_epoch =
        std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::duration<double>(d.time_s));
    status["decisions"].push_back({{"time", Rfc3339(std::chrono::system_clock::time_point(since_epoch))},
                                   {"what", d.what},
                                   {"from", Number(d.from)},
                                   {"to", Number(d.to)},
                                   {"reason", d.reason},
                                   {"evidence", d.evidence}});
  }
  return status.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace patella::sidecar
