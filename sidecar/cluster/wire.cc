#include "sidecar/cluster/wire.h"

#include <cmath>

#include "patella/sidecar/v1/peer.pb.h"

namespace patella::sidecar {
namespace {

std::optional<science::LatencyMetric> MetricNamed(const std::string& name) {
  using enum science::LatencyMetric;
  for (const science::LatencyMetric metric : {kTimePerOutputToken, kTimeToFirstToken, kEndToEnd}) {
    if (science::NameOf(metric) == name) return metric;
  }
  return std::nullopt;
}

void ToWire(const Learned& learned, v1::Learned& out) {
  out.set_key(learned.key);
  out.set_limit(learned.limit);
  out.set_bound_by(learned.bound_by);
  out.set_confidence(learned.confidence);
  out.set_a_ms(learned.a_ms);
  out.set_b_ms(learned.b_ms);
  out.set_cap(std::isfinite(learned.cap) ? learned.cap : 0);
  for (const science::CurvePoint& p : learned.points) {
    v1::Learned::Point& point = *out.add_points();
    point.set_concurrency(p.concurrency);
    point.set_mean_ms_per_token(p.mean_ms_per_token);
    point.set_tokens_per_second(p.tokens_per_second);
    point.set_samples(p.samples);
  }
  for (const science::StepModel::Point& p : learned.step_model.points) {
    v1::Learned::Step& step = *out.add_steps();
    step.set_streams(p.streams);
    step.set_ms(p.ms);
  }
  out.set_prompt_ms_per_token(learned.step_model.prompt_ms_per_token);
  out.set_level(learned.level);
  out.set_input_tokens(learned.payload.input_tokens);
  out.set_output_tokens(learned.payload.output_tokens);
  for (const science::LatencySpread& s : learned.spreads) {
    v1::Learned::Spread& spread = *out.add_spreads();
    spread.set_metric(std::string(science::NameOf(s.metric)));
    spread.set_quantile(s.quantile);
    spread.set_ratio(s.ratio);
  }
  out.set_most(learned.most);
}

Learned FromWire(const v1::Learned& in) {
  Learned learned{.key = in.key(),
                  .limit = in.limit(),
                  .bound_by = in.bound_by(),
                  .confidence = in.confidence(),
                  .a_ms = in.a_ms(),
                  .b_ms = in.b_ms()};
  if (in.cap() > 0) learned.cap = in.cap();
  for (const v1::Learned::Point& p : in.points())
    learned.points.push_back({p.concurrency(), p.mean_ms_per_token(), p.tokens_per_second(), p.samples()});
  for (const v1::Learned::Step& s : in.steps()) learned.step_model.points.push_back({s.streams(), s.ms()});
  learned.step_model.prompt_ms_per_token = in.prompt_ms_per_token();
  learned.level = in.level();
  learned.payload = {in.input_tokens(), in.output_tokens()};
  for (const v1::Learned::Spread& s : in.spreads()) {
    if (const auto metric = MetricNamed(s.metric())) learned.spreads.push_back({*metric, s.quantile(), s.ratio()});
  }
  learned.most = in.most();
  return learned;
}

}  // namespace

void ToWire(const PeerReport& report, v1::GetReportResponse& out) {
  out.set_pod(report.pod);
  out.set_revision(report.revision);
  out.set_ready(report.ready);
  out.set_limit(report.limit);
  out.set_bound_by(report.bound_by);
  out.set_confidence(report.confidence);
  out.set_calibrated_at_seconds(report.calibrated_at_s);
  out.set_in_flight(report.in_flight);
  out.set_admitted_total(report.admitted_total);
  out.set_rejected_total(report.rejected_total);
  out.set_tokens_per_second(report.tokens_per_second);
  out.set_ms_per_token(report.ms_per_token);
  out.set_worst_target_ratio(report.worst_target_ratio);
  ToWire(report.learned, *out.mutable_learned());
}

PeerReport FromWire(const v1::GetReportResponse& in) {
  PeerReport report{.pod = in.pod(),
                    .revision = in.revision(),
                    .ready = in.ready(),
                    .limit = in.limit(),
                    .bound_by = in.bound_by(),
                    .confidence = in.confidence(),
                    .calibrated_at_s = in.calibrated_at_seconds(),
                    .in_flight = in.in_flight(),
                    .admitted_total = in.admitted_total(),
                    .rejected_total = in.rejected_total(),
                    .tokens_per_second = in.tokens_per_second(),
                    .ms_per_token = in.ms_per_token(),
                    .worst_target_ratio = in.worst_target_ratio(),
                    .learned = FromWire(in.learned())};
  report.learned.pod = report.pod;
  report.learned.calibrated_at_s = report.calibrated_at_s;
  return report;
}

}  // namespace patella::sidecar
