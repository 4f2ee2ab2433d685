#include "lib/science/capacity.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace patella::science {
namespace {

constexpr double kUsableShare = 0.95;       // of an accelerator's memory
constexpr double kReservedGb = 1.5;         // each: activations, library workspaces
constexpr double kBandwidthReached = 0.83;  // of the data sheet's, by decode steps
constexpr double kStepOverheadMs = 5.0;
constexpr double kTensorParallelMs = 5.2;     // per doubling, on p4d
constexpr double kPcieTensorParallel = 0.48;  // the same on g5
constexpr double kWorstA = 0.14;              // largest error of `a` with its curve left out
constexpr double kFactorB = 2;
// The prior for b, set by hand on the published curves: host work for each sequence, arithmetic reached in prefill, and
// the GB/s that all-reduces see between accelerators, shared by all that take part.
constexpr double kHostMs = 0.15;
constexpr double kFlopsReached = 0.6;
constexpr double kNvlinkGbPerS = 80;
constexpr double kPcieGbPerS = 12;

double ActiveBillions(const ModelShape& model) {
  return model.active_billions > 0 ? model.active_billions : model.parameters_billions;
}

double KvCopies(const ModelShape& model, int tensor_parallel) {
  return std::max(1.0, static_cast<double>(tensor_parallel) / model.kv_heads);
}

double RequestGb(const ModelShape& model, int tensor_parallel, int tokens) {
  return KvBytesPerToken(model) * KvCopies(model, tensor_parallel) * tokens / 1e9;
}

}  // namespace

absl::Status CheckShape(const ModelShape& model) {
  const auto missing = [&](const char* what) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the shape of model %s lacks %s: expected a number above 0", model.name, what));
  };
  if (!(model.parameters_billions > 0)) return missing("parametersMillions");
  if (model.layers < 1) return missing("layers");
  if (model.hidden_size < 1) return missing("hiddenSize");
  if (model.attention_heads < 1) return missing("attentionHeads");
  if (model.kv_heads < 1) return missing("kvHeads");
  if (model.head_size < 1) return missing("headSize");
  return absl::OkStatus();
}

double WeightGb(const ModelShape& model) { return model.parameters_billions * model.bytes_per_parameter; }

double KvBytesPerToken(const ModelShape& model) {
  return 2 * model.bytes_per_kv_element * model.layers * model.kv_heads * model.head_size;
}

double KvCapacity(const ModelShape& model, const Accelerator& accelerator, int tensor_parallel,
                  int tokens_per_request) {
  const double free_gb = (kUsableShare * accelerator.memory_gb - kReservedGb) * tensor_parallel - WeightGb(model);
  return free_gb / RequestGb(model, tensor_parallel, tokens_per_request);
}

double SimpleKvCapacity(const ModelShape& model, const Accelerator& accelerator, int tensor_parallel,
                        int tokens_per_request) {
  return (accelerator.memory_gb * tensor_parallel - WeightGb(model)) /
         RequestGb(model, tensor_parallel, tokens_per_request);
}

double CriticalBatch(const Accelerator& accelerator) {
  return accelerator.fp16_tflops * 1e3 / accelerator.bandwidth_gb_per_s;
}

absl::Status CheckTensorParallel(const ModelShape& model, const Accelerator& accelerator, int tensor_parallel,
                                 int tokens_per_request) {
  if (tensor_parallel > accelerator.per_node) {
    return absl::FailedPreconditionError(absl::StrFormat("a node has %d", accelerator.per_node));
  }
  if (model.attention_heads % tensor_parallel != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%d heads do not divide by %d", model.attention_heads, tensor_parallel));
  }
  if (KvCapacity(model, accelerator, tensor_parallel, tokens_per_request) < 1) {
    return absl::FailedPreconditionError(
        absl::StrFormat("needs %.1f GB for weights and one request, has %.1f GB",
                        WeightGb(model) + RequestGb(model, tensor_parallel, tokens_per_request),
                        (kUsableShare * accelerator.memory_gb - kReservedGb) * tensor_parallel));
  }
  return absl::OkStatus();
}

Prior PredictLaw(const ModelShape& model, const Accelerator& accelerator, int tensor_parallel, int input_tokens,
                 int output_tokens) {
  Prior prior;
  const double gb_per_ms = accelerator.bandwidth_gb_per_s * kBandwidthReached * tensor_parallel / 1e3;
  const double tensor_parallel_ms =
      kTensorParallelMs * std::log2(tensor_parallel) * (accelerator.nvlink ? 1 : kPcieTensorParallel);
  prior.law.a_ms = ActiveBillions(model) * model.bytes_per_parameter / gb_per_ms + kStepOverheadMs + tensor_parallel_ms;

  const double prompts_per_token = static_cast<double>(input_tokens) / output_tokens;
  const double gflop_per_ms = accelerator.fp16_tflops * kFlopsReached * tensor_parallel;
  const double prefill_ms_per_token = 2 * ActiveBillions(model) / gflop_per_ms;
  double all_reduce_ms = 0;
  if (tensor_parallel > 1) {
    const double gb = 2.0 * model.layers * model.hidden_size * 2 / 1e9;  // two a layer, two bytes each
    all_reduce_ms = gb / ((accelerator.nvlink ? kNvlinkGbPerS : kPcieGbPerS) / tensor_parallel) * 1e3;
  }
  prior.prefill_ms = input_tokens * (prefill_ms_per_token + all_reduce_ms);
  const double kv_read_ms = RequestGb(model, tensor_parallel, input_tokens + output_tokens / 2) / gb_per_ms;
  prior.law.b_ms = kHostMs + kv_read_ms + all_reduce_ms + prompts_per_token * (prefill_ms_per_token + all_reduce_ms);
  prior.a_ms = {prior.law.a_ms * (1 - kWorstA), prior.law.a_ms * (1 + kWorstA)};
  prior.b_ms = {prior.law.b_ms / kFactorB, prior.law.b_ms * kFactorB};
  prior.law.cap = std::max(0.0, KvCapacity(model, accelerator, tensor_parallel, input_tokens + output_tokens));
  return prior;
}

}  // namespace patella::science
