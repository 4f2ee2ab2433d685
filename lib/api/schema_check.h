// Whether the custom resource definitions of a cluster are at least those that this program was built with. Pure.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace patella::api {

// Where the API server answers with its schemas of this API. Every authenticated user may read it; 404 if there is no definition at all.
inline constexpr char kSchemasPath[] = "/openapi/v3/apis/patella.dev/v1alpha1";

// `openapi` is the answer to a GET of kSchemasPath ("{}" for a 404). OK if the definitions know every field and every name of a choice that
// this program knows; they may be newer. Else FailedPrecondition with a sentence for each definition that is missing or older, what
// it lacks, and how to bring it up to date: without that the API server refuses such a field of an apply, or drops it in silence.
// InvalidArgument if the answer is not JSON.
absl::Status CheckSchemas(std::string_view openapi);

}  // namespace patella::api
