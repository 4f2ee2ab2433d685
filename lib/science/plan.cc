#include "lib/science/plan.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lib/science/limit.h"

namespace patella::science {
namespace {

constexpr double kQuantileOverMean = 1.05;  // of time per output token at p90, as servers of steady load show

const Measured* FindMeasured(const PlanInputs& inputs, const Accelerator& accelerator, int degree) {
  for (const Measured& m : inputs.measured) {
    if (m.accelerator == accelerator.name && m.tensor_parallel == degree) return &m;
  }
  return nullptr;
}

void Miss(PlanRow& row, const std::string& why) { row.why_not += row.why_not.empty() ? why : absl::StrCat("; ", why); }

absl::Status SetLaw(const PlanInputs& inputs, const Accelerator& accelerator, double* prefill_ms, PlanRow& row) {
  const Prior prior =
      PredictLaw(inputs.model, accelerator, row.tensor_parallel, inputs.input_tokens, inputs.output_tokens);
  *prefill_ms = prior.prefill_ms;
  row.law = prior.law;
  if (const Measured* measured = FindMeasured(inputs, accelerator, row.tensor_parallel)) {
    const absl::StatusOr<Fit> fit =
        FitLaw(measured->points, {.little_tolerance = kInfinity, .known_cap = prior.law.cap});
    if (!fit.ok()) return fit.status();
    row.law = fit->law;
    row.law.cap = std::min(row.law.cap, prior.law.cap);
    row.measured = true;
  }
  row.alone_ms_per_token = row.law.MsPerToken(1);
  return absl::OkStatus();
}

LimitInputs InputsOf(const PlanInputs& inputs, const PlanRow& row, double prefill_ms) {
  Curve curve{.law = row.law};
  LimitInputs limit{.time_per_output_token = curve, .end_to_end = curve, .output_tokens = inputs.output_tokens};
  limit.targets = inputs.targets;
  limit.time_per_output_token_ratio = limit.end_to_end_ratio = kQuantileOverMean;
  limit.kv_capacity = kKvShare * row.kv_capacity;
  // A newcomer waits for the step in progress, then for its own prompt.
  const double most = std::max(2.0, std::min(row.kv_capacity, 1e4));
  limit.ttft = {{1, row.law.MsPerToken(1) + prefill_ms}, {most, row.law.MsPerToken(most) + prefill_ms}};
  return limit;
}

void Price(const PlanInputs& inputs, const Accelerator& accelerator, PlanRow& row) {
  row.replicas = std::max(1, static_cast<int>(std::ceil(inputs.min_tokens_per_second / row.tokens_per_second - 1e-9)));
  row.cost = CostPerHour(accelerator.price_per_node_hour, accelerator.per_node, row.tensor_parallel, row.replicas);
  row.per_million = PerMillionTokens(row.cost.accelerators, row.tokens_per_second * row.replicas);
  if (inputs.max_per_hour && row.cost.accelerators > *inputs.max_per_hour)
    Miss(row, absl::StrCat("costs $", ToText(row.cost.accelerators), " an hour"));
  if (inputs.max_per_million && row.per_million > *inputs.max_per_million)
    Miss(row, absl::StrCat("costs $", ToText(row.per_million), " per 1M tokens"));
}

absl::StatusOr<PlanRow> RowOf(const PlanInputs& inputs, const Accelerator& accelerator, int degree) {
  PlanRow row{.accelerator = accelerator.name, .instance = accelerator.instance, .tensor_parallel = degree};
  const int tokens = inputs.input_tokens + inputs.output_tokens;
  row.critical_batch = CriticalBatch(accelerator);
  row.kv_capacity = std::max(0.0, KvCapacity(inputs.model, accelerator, degree, tokens));
  if (const absl::Status fits = CheckTensorParallel(inputs.model, accelerator, degree, tokens); !fits.ok()) {
    row.why_not = std::string(fits.message());
    return row;
  }
  row.fits = true;
  double prefill_ms = 0;
  if (absl::Status status = SetLaw(inputs, accelerator, &prefill_ms, row); !status.ok()) return status;
  LimitInputs limit_inputs = InputsOf(inputs, row, prefill_ms);
  absl::StatusOr<Limit> limit = ChooseLimit(limit_inputs);
  if (absl::IsFailedPrecondition(
          limit.status())) {  // a target below one request alone: the row is shown without targets
    Miss(row, std::string(limit.status().message()));
    limit_inputs.targets.clear();
    limit = ChooseLimit(limit_inputs);
  }
  if (!limit.ok()) return limit.status();
  row.limit = limit->limit;
  row.bound_by = std::string(NameOf(limit->bound_by));
  row.ms_per_token = limit->end_to_end_ms_per_token;
  row.tokens_per_second = limit->tokens_per_second;
  Price(inputs, accelerator, row);
  return row;
}

// Smaller is better.
auto Rank(const PlanInputs& inputs, const PlanRow& row) {
  const double per_accelerator = row.tokens_per_second / row.tensor_parallel;
  const double hour = static_cast<double>(row.cost.accelerators.micro_dollars),
               million = static_cast<double>(row.per_million.micro_dollars);
  const bool sized = inputs.min_tokens_per_second > 0;
  double first = sized ? hour : million, second = sized ? million : hour;
  if (inputs.prefer == Preference::kLatency) second = first, first = row.ms_per_token;
  if (inputs.prefer == Preference::kThroughput) second = first, first = -per_accelerator;
  return std::tuple(!row.meets(), !row.fits, first, second, row.tensor_parallel);
}

absl::StatusOr<Plan> RankRows(const PlanInputs& inputs) {
  if (absl::Status status = CheckShape(inputs.model); !status.ok()) return status;
  if (inputs.accelerators.empty()) return absl::InvalidArgumentError("no accelerator to plan for");
  for (const Target& target : inputs.targets) {
    if (!(target.target_ms > 0)) return absl::InvalidArgumentError("a latency target must be above 0 ms");
  }
  Plan plan;
  for (const Accelerator& accelerator : inputs.accelerators) {
    const int most = inputs.max_accelerators_per_replica > 0
                         ? std::min(accelerator.per_node, inputs.max_accelerators_per_replica)
                         : accelerator.per_node;
    for (int degree = 1; degree <= most; degree *= 2) {
      if (inputs.tensor_parallel > 0 && degree != inputs.tensor_parallel) continue;
      absl::StatusOr<PlanRow> row = RowOf(inputs, accelerator, degree);
      if (!row.ok()) return row.status();
      plan.rows.push_back(*std::move(row));
    }
  }
  std::stable_sort(plan.rows.begin(), plan.rows.end(),
                   [&](const PlanRow& a, const PlanRow& b) { return Rank(inputs, a) < Rank(inputs, b); });
  return plan;
}

// One entry per objective: by how much it alone would have to move.
std::vector<Relaxation> Relax(const PlanInputs& inputs) {
  std::vector<Relaxation> relaxations;
  const auto best_without = [&](const PlanInputs& relaxed) -> std::optional<PlanRow> {
    const absl::StatusOr<Plan> plan = RankRows(relaxed);
    if (!plan.ok() || plan->rows.empty() || !plan->rows.front().meets()) return std::nullopt;
    return plan->rows.front();
  };
  for (size_t i = 0; i < inputs.targets.size(); ++i) {
    double low = inputs.targets[i].target_ms, high = low;
    PlanInputs relaxed = inputs;
    for (int doubling = 0; doubling < 20 && !best_without(relaxed); ++doubling)
      relaxed.targets[i].target_ms = high *= 2;
    if (!best_without(relaxed)) continue;
    for (int step = 0; step < 20; ++step) {
      relaxed.targets[i].target_ms = 0.5 * (low + high);
      (best_without(relaxed) ? high : low) = relaxed.targets[i].target_ms;
    }
    relaxations.push_back({NameOf(inputs.targets[i]), absl::StrFormat("%.4g ms", std::ceil(high * 10) / 10)});
  }
  PlanInputs relaxed = inputs;
  relaxed.max_per_hour.reset();
  relaxed.prefer = Preference::kCost;
  if (inputs.max_per_hour) {
    if (const auto row = best_without(relaxed))
      relaxations.push_back({"cost per hour", absl::StrCat("$", ToText(row->cost.accelerators))});
  }
  relaxed = inputs;
  relaxed.max_per_million.reset();
  relaxed.prefer = Preference::kCost;
  if (inputs.max_per_million) {
    if (const auto row = best_without(relaxed))
      relaxations.push_back({"cost per 1M tokens", absl::StrCat("$", ToText(row->per_million))});
  }
  return relaxations;
}

}  // namespace

std::optional<Operating> OperatingPoint(std::vector<CurvePoint> points, double target_ms) {
  std::sort(points.begin(), points.end(),
            [](const CurvePoint& a, const CurvePoint& b) { return a.concurrency < b.concurrency; });
  for (size_t i = 1; i < points.size(); ++i) {
    points[i].mean_ms_per_token = std::max(points[i].mean_ms_per_token, points[i - 1].mean_ms_per_token);
  }
  if (points.empty() || points.front().mean_ms_per_token > target_ms) return std::nullopt;
  Operating best;
  const auto offer = [&best](double concurrency, double tokens_per_second) {
    if (tokens_per_second > best.tokens_per_second) best = {concurrency, tokens_per_second};
  };
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i].mean_ms_per_token < target_ms) {
      offer(points[i].concurrency, points[i].tokens_per_second);
      continue;
    }
    if (i == 0) {
      offer(points[0].concurrency, points[0].tokens_per_second);
      break;
    }
    const CurvePoint &low = points[i - 1], &high = points[i];
    const double share =
        std::log(target_ms / low.mean_ms_per_token) / std::log(high.mean_ms_per_token / low.mean_ms_per_token);
    const auto between = [share](double a, double b) {
      return std::exp(std::log(a) + share * (std::log(b) - std::log(a)));
    };
    offer(between(low.concurrency, high.concurrency), between(low.tokens_per_second, high.tokens_per_second));
    break;
  }
  return best;
}

absl::StatusOr<Plan> MakePlan(const PlanInputs& inputs) {
  absl::StatusOr<Plan> plan = RankRows(inputs);
  if (plan.ok() && !plan->rows.empty() && !plan->rows.front().meets()) plan->relaxations = Relax(inputs);
  return plan;
}

}  // namespace patella::science
