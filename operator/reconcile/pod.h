// One replica: engine and sidecar in a pod. Pure.
//
// The sidecar is a native one (starts first, stops last), every request passes it, and kubelet reaches the engine through it; the engine listens
// on loopback. The service account's token is mounted in the sidecar alone.
#pragma once

#include "operator/reconcile/choice.h"
#include "operator/reconcile/inputs.h"
#include "operator/reconcile/model_source.h"

namespace patella::reconcile {

struct PodInputs {
  const Inputs& inputs;
  std::string revision;
  Images images;  // of this revision
  Choice choice;
  ModelSource model;
  Labels labels;  // those of the revision; the pod's own role is always serving
};

PodTemplate PodOf(const PodInputs& in);

std::string NameOf(const Inputs& inputs, std::string_view suffix);  // "NAME-suffix"
std::string LimitsName(const std::string& revision_name);           // of the mutable ConfigMap

inline constexpr int kClientPort = 8080;
inline constexpr int kAdminPort = 8081;
inline constexpr int kPeerPort = 8082;

}  // namespace patella::reconcile
