#include "operator/reconcile/model_source.h"

#include <algorithm>

#include "lib/base/text.h"

namespace patella::reconcile {
namespace {

constexpr char kMountPath[] = "/models";

// "a/b.gguf" -> "/models/a/b.gguf"; false if it would lead out of the folder.
bool Within(std::string_view path, std::string* out) {
  while (path.starts_with('/')) path.remove_prefix(1);
  for (const std::string_view part : Split(path, '/')) {
    if (part == "..") return false;
  }
  *out = path.empty() ? kMountPath : StrCat(kMountPath, "/", path);
  return true;
}

ModelSource FromClaim(std::string_view rest, Refusal* refusal) {
  const size_t slash = rest.find('/');
  const std::string_view claim = rest.substr(0, slash);
  ModelSource source;
  source.volume = Volume{"model", Volume::Kind::kClaim, std::string(claim)};
  if (claim.empty() || !Within(slash == rest.npos ? "" : rest.substr(slash), &source.model_id)) {
    *refusal = {"ModelUriInvalid",
                StrCat("spec.model.uri: expected pvc://CLAIM/PATH without \"..\", found pvc://", rest)};
  }
  return source;
}

ModelSource FromImage(std::string_view rest, Refusal* refusal) {
  const size_t hash = rest.find('#');
  ModelSource source;
  source.volume = Volume{"model", Volume::Kind::kImage, std::string(rest.substr(0, hash))};
  if (hash == 0 || !Within(hash == rest.npos ? "" : rest.substr(hash + 1), &source.model_id)) {
    *refusal = {
        "ModelUriInvalid",
        StrCat("spec.model.uri: expected image://IMAGE or image://IMAGE#PATH without \"..\", found image://", rest)};
  }
  return source;
}

ModelSource FromHub(const Inputs& inputs, std::string_view rest, Refusal* refusal) {
  const api::InferenceDeploymentSpec& spec = inputs.deployment.spec;
  ModelSource source;
  if (spec.engine.type == api::EngineType::kPatella) {
    *refusal = {"ModelUriUnsupported",
                "spec.model.uri: hf:// needs an engine that downloads models itself (VLLM or TGI); Patella's takes "
                "pvc:// or image://"};
    return source;
  }
  source.model_id = std::string(rest);
  source.volume = Volume{"model", Volume::Kind::kEmptyDir, ""};
  source.read_only = false;
  source.env.push_back({"HF_HOME", kMountPath});
  if (spec.model.token_secret_ref) {
    source.env.push_back({.name = "HF_TOKEN",
                          .source = Env::Source::kSecret,
                          .object = spec.model.token_secret_ref->name,
                          .key = spec.model.token_secret_ref->key});
  }
  return source;
}

ModelSource FromNode(const Inputs& inputs, std::string_view rest, Refusal* refusal) {
  const std::string& folder = inputs.placement.host_model_dir;
  ModelSource source;
  if (folder.empty()) {
    *refusal = {
        "ModelUriNotOnCluster",
        StrCat("spec.model.uri: file://", rest,
               " is a file of one machine, for `patella up`. On a cluster use pvc://CLAIM/PATH or image://IMAGE, or "
               "let the operator mount a folder of the nodes (its setting HOST_MODEL_DIR)")};
    return source;
  }
  source.volume = Volume{"model", Volume::Kind::kHostPath, folder};
  std::string_view path = rest;
  if (const std::string_view after = path.substr(std::min(folder.size(), path.size()));
      path.starts_with(folder) && (after.empty() || after.starts_with('/') || folder == "/"))
    path = after;
  if (path.starts_with("./")) path.remove_prefix(2);
  const bool outside = rest.starts_with('/') && path.size() == rest.size();
  if (outside || !Within(path, &source.model_id)) {
    *refusal = {"ModelUriInvalid", StrCat("spec.model.uri: file://", rest, " is not within ", folder,
                                          ", the folder of the nodes that the operator mounts")};
  }
  return source;
}

}  // namespace

ModelSource ModelSourceOf(const Inputs& inputs, Refusal* refusal) {
  ModelSource source;
  if (inputs.placement.local) {
    source.model_id = inputs.placement.model_path;
    return source;
  }
  const std::string& uri = inputs.deployment.spec.model.uri;
  const size_t at = uri.find("://");
  const std::string scheme = uri.substr(0, at);
  const std::string_view rest = at == uri.npos ? "" : std::string_view(uri).substr(at + 3);
  if (scheme == "pvc") return FromClaim(rest, refusal);
  if (scheme == "image") return FromImage(rest, refusal);
  if (scheme == "hf") return FromHub(inputs, rest, refusal);
  if (scheme == "file") return FromNode(inputs, rest, refusal);
  *refusal = {"ModelUriInvalid", StrCat("spec.model.uri: expected pvc://, image://, hf:// or file://, found ", uri)};
  return source;
}

}  // namespace patella::reconcile
