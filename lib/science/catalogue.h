// Models and accelerators that are known by name. One table each; Find… forgive case, punctuation, owner and suffixes
// such as -hf or -chat.
#pragma once

#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/science/capacity.h"

namespace patella::science {

std::span<const Accelerator> KnownAccelerators();

// "meta-llama/Llama-2-7b-chat-hf", "llama 2 7b". NotFound lists near names.
absl::StatusOr<ModelShape> FindModel(std::string_view name);
// By name or instance: "a10g", "g5.2xlarge". A bare "a10g" is the smallest instance that has one. NotFound lists all
// names.
absl::StatusOr<Accelerator> FindAccelerator(std::string_view name);

}  // namespace patella::science
