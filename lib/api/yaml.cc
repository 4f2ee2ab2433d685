#include <re2/re2.h>
#include <yaml-cpp/yaml.h>

#include "lib/api/node.h"
#include "lib/base/text.h"

namespace patella::api {
namespace {

constexpr int kMaxDepth = 100;
constexpr int kMaxNodes = 100'000;

// As kubectl and the API server resolve plain scalars.
Node::Kind KindOf(const std::string& text) {
  static const RE2 kBool("(?i:true|false|yes|no|on|off|y|n)"), kNull("~|(?i:null)|");
  static const RE2 kInt("[-+]?(0|[1-9][0-9]*)"), kDecimal("[-+]?([0-9]+\\.[0-9]*|\\.[0-9]+)");
  static const RE2 kNumber(
      "[-+]?(0x[0-9a-fA-F_]+|0o?[0-7_]+|0b[01_]+|[0-9][0-9_]*\\.?[0-9_]*([eE][-+]?[0-9]+)?|\\.(inf|Inf|INF))|"
      "\\.(nan|NaN|NAN)");
  if (RE2::FullMatch(text, kNull)) return Node::Kind::kNull;
  if (RE2::FullMatch(text, kBool)) return Node::Kind::kBool;
  if (RE2::FullMatch(text, kInt)) return Node::Kind::kInt;
  if (RE2::FullMatch(text, kDecimal)) return Node::Kind::kDecimal;
  return RE2::FullMatch(text, kNumber) ? Node::Kind::kNumber : Node::Kind::kText;
}

class Loader {
 public:
  bool Copy(const YAML::Node& from, int depth, Node* to) {
    if (depth > kMaxDepth || ++count_ > kMaxNodes) return false;
    to->line = from.Mark().line + 1;
    if (from.IsMap()) {
      to->kind = Node::Kind::kMap;
      for (const auto& field : from) {
        Field& copy = to->fields.emplace_back();
        copy.key = field.first.IsScalar() ? field.first.Scalar() : "?";
        copy.line = field.first.Mark().line + 1;
        if (!Copy(field.second, depth + 1, &copy.value)) return false;
      }
    } else if (from.IsSequence()) {
      to->kind = Node::Kind::kList;
      for (const auto& item : from) {
        if (!Copy(item, depth + 1, &to->items.emplace_back())) return false;
      }
    } else if (from.IsScalar()) {
      to->text = from.Scalar();
      to->kind = from.Tag().empty() || from.Tag() == "?" ? KindOf(to->text) : Node::Kind::kQuoted;
    } else {
      to->kind = Node::Kind::kNull;
    }
    return true;
  }

 private:
  int count_ = 0;
};

bool IsPlain(const std::string& text) {
  static const RE2 kPlain("[A-Za-z][-A-Za-z0-9_./]*(://[-A-Za-z0-9_./]+)?");
  return RE2::FullMatch(text, kPlain) && KindOf(text) == Node::Kind::kText;
}

void Emit(const Node& node, YAML::Emitter& out) {
  switch (node.kind) {
    case Node::Kind::kMap:
      if (node.fields.empty()) out << YAML::Flow;
      out << YAML::BeginMap;
      for (const Field& field : node.fields) {
        out << YAML::Key << field.key << YAML::Value;
        Emit(field.value, out);
      }
      out << YAML::EndMap;
      break;
    case Node::Kind::kList:
      if (node.items.empty()) out << YAML::Flow;
      out << YAML::BeginSeq;
      for (const Node& item : node.items) Emit(item, out);
      out << YAML::EndSeq;
      break;
    case Node::Kind::kText:
    case Node::Kind::kQuoted:
      if (!IsPlain(node.text)) out << YAML::DoubleQuoted;
      out << node.text;
      break;
    case Node::Kind::kRaw:
      if (const auto parsed = LoadJson(node.text); parsed.ok()) {
        Emit(*parsed, out);
        break;
      }
      [[fallthrough]];
    case Node::Kind::kAbsent:
    case Node::Kind::kNull:
      out << YAML::Null;
      break;
    default:
      out << node.text;
  }
}

}  // namespace

const Node* Node::Find(std::string_view name) const {
  for (const Field& field : fields) {
    if (field.key == name) return &field.value;
  }
  return nullptr;
}

bool IsTrue(const Node& node) {
  const std::string text = ToLower(node.text);
  return text == "true" || text == "yes" || text == "on" || text == "y";
}

absl::StatusOr<std::vector<Node>> LoadYaml(std::string_view text, std::string_view file_name) {
  std::vector<Node> documents;
  try {
    Loader loader;
    for (const YAML::Node& document : YAML::LoadAll(std::string(text))) {
      if (document.IsNull()) continue;
      if (!loader.Copy(document, 0, &documents.emplace_back()))
        return absl::InvalidArgumentError(
            StrCat("is nested too deep or, with aliases expanded, too large (", file_name, ")"));
    }
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(StrCat("not YAML: ", e.msg, " (", file_name, ":", e.mark.line + 1, ")"));
  }
  return documents;
}

std::string ToYaml(const Node& node) {
  YAML::Emitter emitter;
  Emit(node, emitter);
  return std::string(emitter.c_str()) + "\n";
}

}  // namespace patella::api
