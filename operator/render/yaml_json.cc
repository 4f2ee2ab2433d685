#include "operator/render/yaml_json.h"

#include <yaml-cpp/yaml.h>

#include "lib/base/text.h"

namespace patella::render {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

json ScalarOf(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // was quoted
  if (text.empty() || text == "~" || text == "null") return nullptr;
  if (text == "true") return true;
  if (text == "false") return false;
  if (int64_t whole = 0; ParseInt(text, &whole)) return whole;
  const bool numeric = text.find_first_not_of("0123456789+-.eE") == std::string::npos;
  if (double number = 0; numeric && ParseDouble(text, &number)) return number;
  return text;
}

json Convert(const YAML::Node& node, int depth) {
  if (depth > kMaxDepth) return nullptr;
  if (node.IsMap()) {
    json out = json::object();
    for (const auto& item : node) out[item.first.Scalar()] = Convert(item.second, depth + 1);
    return out;
  }
  if (node.IsSequence()) {
    json out = json::array();
    for (const auto& item : node) out.push_back(Convert(item, depth + 1));
    return out;
  }
  return node.IsScalar() ? ScalarOf(node) : json(nullptr);
}

}  // namespace

json YamlToJson(const std::string& text) {
  if (text.empty()) return nullptr;
  try {
    return Convert(YAML::Load(text), 0);
  } catch (const YAML::Exception&) {
    return nullptr;
  }
}

}  // namespace patella::render
