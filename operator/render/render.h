// A Plan's children as the JSON that server-side apply sends: all that the operator wants of each, and nothing else. Pure.
//
// Bytes are stable: keys are sorted, so the same plan gives the same text. Every child is controlled by the InferenceDeployment, so that the API
// server removes it with its owner, and carries the annotation kIntentAnnotation, a hash of the rest: what was applied last.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/kube/object.h"
#include "operator/reconcile/plan.h"

namespace patella::render {

inline constexpr char kIntentAnnotation[] = "patella.dev/intent";
inline constexpr char kOperatorAnnotation[] =
    "patella.dev/operator";  // "namespace/name" of the Lease of who works on it

struct Owner {
  std::string namespace_name, name, uid;
  std::string operator_name = {};  // goes on its Deployments as kOperatorAnnotation; "": none
};

struct Child {
  kube::Resource resource;
  std::string name;
  std::string json;
  bool immutable = false;    // once it is there, it is right
  bool create_only = false;  // what is in it belongs to others (the Lease)
};

// In an order in which each finds what it refers to: settings and access before Deployments.
std::vector<Child> Render(const reconcile::Plan& plan, const Owner& owner);

// The Secret of plan.peers; PEM texts.
struct PeerCertificates {
  std::string ca, certificate, key;
};
Child RenderPeers(const reconcile::PeerSecret& secret, const PeerCertificates& certificates, const Owner& owner);

// A merge patch that makes an old revision smaller and says its role.
std::string RenderRetained(const reconcile::RetainedDeployment& retained);

// A merge patch that writes the name of an operator's Lease on a Deployment, and nothing else.
std::string RenderMark(std::string_view uid, const std::string& operator_name);

// The operator's part of status, to be applied to the subresource. `live` is the object as cached: a condition that stays as it was keeps its
// lastTransitionTime; others get `now` (RFC 3339).
std::string RenderStatus(const reconcile::Plan& plan, const Owner& owner, std::string_view live, std::string_view now);

// True if `live` already says what RenderStatus would: then nothing is to be written.
bool StatusMatches(std::string_view live, std::string_view intent);

}  // namespace patella::render
