#include "lib/science/plan.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cli/bench/options.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/report/report.h"
#include "lib/api/parse.h"
#include "lib/api/to_science.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"
#include "lib/loadgen/summary.h"
#include "lib/science/catalogue.h"

namespace patella::cli {
namespace {

constexpr char kFooter[] =
    "Predicts from memory and bandwidth, before anything is bought or measured: which accelerators and tensor-parallel "
    "degrees can serve the\n"
    "model, how many requests at once keep the targets, and what a million tokens costs. A prediction ranks "
    "candidates; `a` (one request\n"
    "alone) is usually within 14 %, `b` (each further request) within a factor of two. `patella tune` measures.\n\n"
    "  patella plan --model meta-llama/Llama-2-7b --target tpot:p90:50ms\n"
    "  patella plan --model mixtral-8x7b --accelerator a100-40g,h100 --input-tokens 1024 --output-tokens 256 "
    "--min-tokens-per-second 8000\n"
    "  patella plan -f deploy/samples/smollm2.yaml        model, workload and objectives from an "
    "InferenceDeployment\n\n"
    "If nothing meets all objectives (exit code 4), the nearest that can be met is printed.";

struct PlanOptions {
  std::string file, model, output = "table", max_per_hour, max_per_million;
  std::vector<std::string> accelerators, targets, prices;
  // What is given overrides the file.
  std::optional<std::string> prefer;
  std::optional<int> input_tokens, output_tokens, tensor_parallel;
  std::optional<double> min_tokens_per_second;
};

absl::StatusOr<std::optional<science::Money>> MoneyOf(const std::string& name, const std::string& text) {
  if (text.empty()) return std::optional<science::Money>();
  absl::StatusOr<science::Money> money = science::ParseMoney(text);
  if (!money.ok()) return absl::InvalidArgumentError(StrCat(name, ": ", ToStd(money.status().message())));
  return std::optional<science::Money>(*money);
}

science::Preference ToPreference(const std::string& name) {
  if (name == "latency") return science::Preference::kLatency;
  return name == "throughput" ? science::Preference::kThroughput : science::Preference::kCost;
}

absl::StatusOr<science::PlanInputs> FromFile(PlanOptions& options) {
  PATELLA_ASSIGN_OR_RETURN(const api::InferenceDeployment deployment, api::ParseOneDeployment(options.file));
  PATELLA_ASSIGN_OR_RETURN(science::ModelShape shape, api::ToModelShape(deployment.spec.model));
  if (options.accelerators.empty()) options.accelerators = deployment.spec.hardware.accelerator_classes;
  return api::ToPlanInputs(deployment.spec, std::move(shape));
}

absl::StatusOr<science::PlanInputs> FromName(const std::string& model) {
  const absl::StatusOr<science::ModelShape> shape = api::ToModelShape({.name = model});
  if (!shape.ok()) return absl::NotFoundError(StrCat(ToStd(shape.status().message()), " (-f FILE)"));
  science::PlanInputs inputs;
  inputs.model = *shape;
  return inputs;
}

absl::Status SetAccelerators(const PlanOptions& options, science::PlanInputs& inputs) {
  for (const std::string& name : options.accelerators) {
    PATELLA_ASSIGN_OR_RETURN(science::Accelerator accelerator, science::FindAccelerator(name));
    inputs.accelerators.push_back(accelerator);
  }
  if (inputs.accelerators.empty())
    inputs.accelerators.assign(science::KnownAccelerators().begin(), science::KnownAccelerators().end());
  for (const std::string& price : options.prices) {
    const size_t equals = price.find('=');
    if (equals == std::string::npos)
      return absl::InvalidArgumentError(
          StrCat("--price ", price, ": expected NAME=DOLLARS, for example a100-40g=21.50 (a node, an hour)"));
    PATELLA_ASSIGN_OR_RETURN(const science::Accelerator meant, science::FindAccelerator(price.substr(0, equals)));
    PATELLA_ASSIGN_OR_RETURN(const auto money, MoneyOf("--price", price.substr(equals + 1)));
    for (science::Accelerator& accelerator : inputs.accelerators) {
      if (accelerator.name == meant.name && money) accelerator.price_per_node_hour = *money;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<science::PlanInputs> InputsOf(PlanOptions options) {
  if (options.file.empty() == options.model.empty())
    return absl::InvalidArgumentError("give either --model NAME or -f FILE");
  PATELLA_ASSIGN_OR_RETURN(science::PlanInputs inputs,
                           options.file.empty() ? FromName(options.model) : FromFile(options));
  for (const std::string& text : options.targets) {
    PATELLA_ASSIGN_OR_RETURN(const loadgen::LatencyTarget target, loadgen::ParseTarget(text));
    inputs.targets.push_back(target);
  }
  inputs.input_tokens = options.input_tokens.value_or(inputs.input_tokens);
  inputs.output_tokens = options.output_tokens.value_or(inputs.output_tokens);
  inputs.min_tokens_per_second = options.min_tokens_per_second.value_or(inputs.min_tokens_per_second);
  inputs.tensor_parallel = options.tensor_parallel.value_or(inputs.tensor_parallel);
  PATELLA_ASSIGN_OR_RETURN(const auto max_per_hour, MoneyOf("--max-cost-per-hour", options.max_per_hour));
  if (max_per_hour) inputs.max_per_hour = max_per_hour;
  PATELLA_ASSIGN_OR_RETURN(const auto max_per_million, MoneyOf("--max-cost-per-million", options.max_per_million));
  if (max_per_million) inputs.max_per_million = max_per_million;
  if (options.prefer) inputs.prefer = ToPreference(*options.prefer);
  PATELLA_RETURN_IF_ERROR(SetAccelerators(options, inputs));
  return inputs;
}

std::string TableOf(const science::PlanInputs& inputs, const science::Plan& plan) {
  std::vector<std::vector<std::string>> rows = {{"accelerator", "TP", "KV fits", "alone ms", "limit", "bound by",
                                                 "ms/token", "tok/s", "replicas", "$/h", "$/h nodes", "$/1M"}};
  std::string not_fitting, missing;
  for (const science::PlanRow& row : plan.rows) {
    const std::string name = StrCat(row.accelerator, " TP", row.tensor_parallel);
    if (!row.fits) {
      StrAppend(&not_fitting, "  ", name, ": ", row.why_not, "\n");
      continue;
    }
    if (!row.meets()) StrAppend(&missing, "  ", name, ": ", row.why_not, "\n");
    rows.push_back({StrCat(row.meets() ? "" : "✗ ", row.accelerator), StrCat(row.tensor_parallel),
                    Number(std::floor(row.kv_capacity)), Number(row.alone_ms_per_token),
                    row.meets() ? StrCat(row.limit) : "–", row.meets() ? row.bound_by : "–", Number(row.ms_per_token),
                    Number(row.tokens_per_second), StrCat(row.replicas), ToText(row.cost.accelerators),
                    ToText(row.cost.nodes), ToText(row.per_million)});
  }
  std::string out = StrCat(inputs.model.name, ", ", inputs.input_tokens, " tokens in, ", inputs.output_tokens,
                           " out: weights ", Number(science::WeightGb(inputs.model)), " GB, KV ",
                           Number(science::KvBytesPerToken(inputs.model) / 1e6), " MB a token\n\n");
  if (rows.size() > 1) out += RenderTable(rows);
  if (!missing.empty()) out += "\nmiss an objective\n" + missing;
  if (!not_fitting.empty()) out += "\ndo not fit\n" + not_fitting;
  out +=
      "\nAll figures are predicted: one request alone (alone ms) usually within 14 %, the limit within a factor of "
      "two. Prices are list prices\n"
      "that change: --price sets yours. `patella tune URL` measures.\n";
  for (const science::Relaxation& r : plan.relaxations)
    StrAppend(&out, "nearest that can be met, ", r.objective, ": ", r.nearest, "\n");
  if (!plan.rows.empty() && plan.rows.front().meets()) {
    const science::PlanRow& best = plan.rows.front();
    StrAppend(&out, "\nbest: ", best.replicas, " × ", best.accelerator, " (", best.instance, ") TP",
              best.tensor_parallel, ", limit ", best.limit, ", $", ToText(best.per_million), " per 1M tokens\n");
  } else {
    out += plan.relaxations.empty() ? "\nnothing meets all objectives, nor would with any single one moved\n"
                                    : "\nnothing meets all objectives\n";
  }
  return out;
}

std::string JsonOf(const science::Plan& plan) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array(), relaxations = nlohmann::ordered_json::array();
  for (const science::PlanRow& row : plan.rows) {
    nlohmann::ordered_json one = {{"accelerator", row.accelerator},
                                  {"instance", row.instance},
                                  {"tensor_parallel", row.tensor_parallel},
                                  {"meets", row.meets()},
                                  {"why_not", row.why_not},
                                  {"measured", row.measured},
                                  {"kv_capacity", row.kv_capacity},
                                  {"critical_batch", row.critical_batch}};
    if (row.fits) {
      one.update({{"a_ms", row.law.a_ms},
                  {"b_ms", row.law.b_ms},
                  {"alone_ms_per_token", row.alone_ms_per_token},
                  {"limit", row.limit},
                  {"bound_by", row.bound_by},
                  {"ms_per_token", row.ms_per_token},
                  {"tokens_per_second", row.tokens_per_second},
                  {"replicas", row.replicas},
                  {"nodes", row.cost.node_count},
                  {"cost_per_hour", ToText(row.cost.accelerators, 6)},
                  {"cost_per_hour_nodes", ToText(row.cost.nodes, 6)},
                  {"cost_per_million_tokens", ToText(row.per_million, 6)}});
    }
    rows.push_back(std::move(one));
  }
  for (const science::Relaxation& r : plan.relaxations)
    relaxations.push_back({{"objective", r.objective}, {"nearest", r.nearest}});
  return nlohmann::ordered_json{{"rows", rows}, {"nearest_feasible", relaxations}}.dump(2) + "\n";
}

int RunPlan(const PlanOptions& options) {
  const absl::StatusOr<science::PlanInputs> inputs = InputsOf(options);
  if (!inputs.ok()) return Fail(inputs.status());
  const absl::StatusOr<science::Plan> plan = science::MakePlan(*inputs);
  if (!plan.ok()) return Fail(plan.status());
  std::cout << (options.output == "json" ? JsonOf(*plan) : TableOf(*inputs, *plan)) << std::flush;
  return !plan->rows.empty() && plan->rows.front().meets() ? kOk : kTargetImpossible;
}

}  // namespace

CLI::App* AddPlan(CLI::App& app, int* exit_code) {
  CLI::App* command = app.add_subcommand(
      "plan", "Which accelerator, tensor-parallel degree and replicas would meet the objectives, and what they cost");
  auto options = std::make_shared<PlanOptions>();
  command->add_option("-f,--file", options->file,
                      "an InferenceDeployment: model, workload and objectives; flags override it, --target adds");
  command->add_option("--model", options->model, "a model's name, for example meta-llama/Llama-2-7b");
  command
      ->add_option("--accelerator", options->accelerators,
                   "candidates by name or instance; default: all that are known")
      ->delimiter(',');
  command->add_option("--input-tokens", options->input_tokens, "length of a prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->default_str(std::to_string(science::PlanInputs{}.input_tokens));
  command->add_option("--output-tokens", options->output_tokens, "length of an answer")
      ->check(CLI::Range(2, 1 << 20))
      ->default_str(std::to_string(science::PlanInputs{}.output_tokens));
  command
      ->add_option("--target", options->targets,
                   "metric:quantile:limit, may be repeated: tpot:p90:50ms, ttft:p90:500ms, e2e:p95:8s")
      ->delimiter(',');
  command->add_option("--min-tokens-per-second", options->min_tokens_per_second, "over all replicas")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--max-cost-per-hour", options->max_per_hour, "dollars, of the accelerators used");
  command->add_option("--max-cost-per-million", options->max_per_million, "dollars, per million output tokens");
  command->add_option("--prefer", options->prefer, "what to rank by")
      ->check(CLI::IsMember({"cost", "latency", "throughput"}))
      ->default_str("cost");
  command->add_option("--tensor-parallel", options->tensor_parallel, "this degree only")->check(CLI::Range(1, 64));
  command->add_option("--price", options->prices, "NAME=DOLLARS for a node and hour, may be repeated")->delimiter(',');
  command->add_option("--output", options->output, "form of the result")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->footer(kFooter);
  command->callback([options, exit_code] { *exit_code = RunPlan(*options); });
  return command;
}

}  // namespace patella::cli
