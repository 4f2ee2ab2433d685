// YAML in flow or block form as JSON: parts of Kubernetes' own API that a user wrote. Internal to operator/render.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace patella::render {

// Null if `text` is "" or no YAML. Quoted scalars are strings; plain ones are null, booleans and numbers where YAML 1.2's core schema says so.
nlohmann::json YamlToJson(const std::string& text);

}  // namespace patella::render
