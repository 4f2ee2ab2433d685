// What a model and an accelerator say about a replica before anything was measured: memory, feasible degrees of tensor
// parallelism, and a prediction of the law R(c) = a + b·c.
//
//   KV bytes per token   2 · bytes · layers · KV heads · head size
//   KV capacity          B = (0.95·M·TP − W − 1.5 GB·TP) / (KV bytes · tokens of a request)
//   one request alone    a = W/(TP·bandwidth·0.83) + 5.0 + 5.2·log2(TP)·factor ms; over the published curves 2.6 %, at
//                        worst 14 %
//   each further one     b: a prior, right to a factor of two at best. Only a loaded probe gives b.
//
// GB are 10⁹ bytes here, as in data sheets. Pure values. docs/science.md derives all of it.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "lib/science/cost.h"
#include "lib/science/curve.h"

namespace patella::science {

struct ModelShape {
  std::string name;
  double parameters_billions = 0;
  double active_billions = 0;  // read for one token of one request (mixture of experts); 0: all
  int layers = 0;
  int hidden_size = 0;
  int attention_heads = 0;
  int kv_heads = 0;
  int head_size = 0;
  double bytes_per_parameter = 2;
  double bytes_per_kv_element = 2;
};

struct Accelerator {
  std::string name;
  std::string instance;
  double memory_gb = 0;  // usable
  double bandwidth_gb_per_s = 0;
  double fp16_tflops = 0;  // dense
  bool nvlink = false;     // else PCIe through the host
  int per_node = 1;
  Money price_per_node_hour;
};

// InvalidArgument names what is missing or impossible.
absl::Status CheckShape(const ModelShape& model);

double WeightGb(const ModelShape& model);
double KvBytesPerToken(const ModelShape& model);
// Requests whose KV fits; ≤ 0: not even the weights do. KV heads are copied where TP exceeds their number.
double KvCapacity(const ModelShape& model, const Accelerator& accelerator, int tensor_parallel, int tokens_per_request);
// The founding post's estimate (all memory but the weights holds KV), kept to compare with: up to 39 % too high.
double SimpleKvCapacity(const ModelShape& model, const Accelerator& accelerator, int tensor_parallel,
                        int tokens_per_request);
// FLOPS/bandwidth, the batch at which matrix products become bound by arithmetic. It does NOT locate the knee: the
// published curves have a/b two to seven times lower, because b is host work, prefill and KV reads.
double CriticalBatch(const Accelerator& accelerator);

// Ok, or FailedPrecondition with the reason: more than a node has, heads not divisible, weights or one request do not
// fit.
absl::Status CheckTensorParallel(const ModelShape& model, const Accelerator& accelerator, int tensor_parallel,
                                 int tokens_per_request);

struct Prior {
  Law law;
  Interval a_ms, b_ms;
  double prefill_ms = 0;  // of one prompt, alone
};
Prior PredictLaw(const ModelShape& model, const Accelerator& accelerator, int tensor_parallel, int input_tokens,
                 int output_tokens);

}  // namespace patella::science
