// Text to objects, strictly. YAML or JSON, one or more documents.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/api/accelerator_class.h"
#include "lib/api/inference_deployment.h"
#include "lib/api/serving_curve.h"

namespace patella::api {

using Object = std::variant<InferenceDeployment, AcceleratorClass, ServingCurve>;

// All documents of `text`, each valid. Otherwise InvalidArgument with one line for each error (at most 20), for example
//   spec.objectives.latency[0].targetMs: expected a whole number of milliseconds from 1 to 3600000, found "fast" (smollm2.yaml:17)
// `file_name` is used in messages alone. What the API server adds to metadata is accepted, and of status what can be read is read.
absl::StatusOr<std::vector<Object>> Parse(std::string_view text, std::string_view file_name);

// The same from a file; NotFound and PermissionDenied name the path.
absl::StatusOr<std::vector<Object>> ParseFile(const std::string& path);

// For local mode: the only InferenceDeployment of a file. InvalidArgument if there is none or more than one.
absl::StatusOr<InferenceDeployment> ParseOneDeployment(const std::string& path);

// One object as the API server returned it, as JSON, with status: InferenceDeployment, AcceleratorClass or ServingCurve. For every
// reconcile: about 0.1 ms. Fields that this program does not know are ignored, because the server's schema may be newer; everything else is
// checked as above, constraints between fields included, because the server's schema may be older.
template <typename T>
absl::StatusOr<T> ParseStored(std::string_view json);

}  // namespace patella::api
