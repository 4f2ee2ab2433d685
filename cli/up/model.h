// From spec.model.uri to a model file on this machine.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace patella::cli {

// ${PATELLA_CACHE}, or ~/.cache/patella.
std::string CacheFolder();

// What file:// means in local mode:
//   file:///models/x.gguf   that file
//   file://./x.gguf, file://../x.gguf   relative to the folder of the YAML
//   file://x.gguf           a bare name: ${PATELLA_CACHE}/models/x.gguf, where tools/fetch_model.sh puts it; else beside the YAML
// NotFound names the file and the remedy; InvalidArgument if it is no GGUF file, or if the scheme needs a cluster (pvc, image, hf).
absl::StatusOr<std::string> ResolveModel(std::string_view uri, const std::string& yaml_path);

}  // namespace patella::cli
