// Where a pod gets its model from: spec.model.uri as a volume and the path that the engine is told. Pure.
//
//   pvc://CLAIM/PATH     the claim, read-only, at /models
//   image://IMAGE#PATH   an image volume, read-only, at /models; the path within is optional
//   hf://OWNER/MODEL     the engine downloads it, into an emptyDir at /models
//   file://PATH          a folder of the node (Placement::host_model_dir), read-only, where the operator allows it
#pragma once

#include <optional>
#include <string>

#include "operator/reconcile/choice.h"

namespace patella::reconcile {

struct ModelSource {
  std::string model_id;  // the engine's MODEL_ID
  std::optional<Volume> volume;
  std::vector<Env> env;  // a token, a cache
  bool read_only = true;
};

ModelSource ModelSourceOf(const Inputs& inputs, Refusal* refusal);

}  // namespace patella::reconcile
