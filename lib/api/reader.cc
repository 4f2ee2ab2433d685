#include "lib/api/reader.h"

#include <algorithm>
#include <numeric>
#include <regex>

#include "lib/base/text.h"

namespace patella::api {
namespace {

enum class ScalarKind { kText, kQuoted, kInt, kDecimal, kBool, kNull };

ScalarKind KindOf(const YAML::Node& node) {
  if (node.Tag() == "!") return ScalarKind::kQuoted;
  static const std::regex kInt("[-+]?[0-9]+"), kDecimal("[-+]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][-+]?[0-9]+)?");
  const std::string& text = node.Scalar();
  if (std::regex_match(text, kInt)) return ScalarKind::kInt;
  if (std::regex_match(text, kDecimal)) return ScalarKind::kDecimal;
  for (const char* word : {"true", "True", "TRUE", "false", "False", "FALSE"}) {
    if (text == word) return ScalarKind::kBool;
  }
  return ScalarKind::kText;
}

std::string Shown(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  if (!node.IsScalar()) return "nothing";
  const std::string text = node.Scalar().substr(0, 60);
  const ScalarKind kind = KindOf(node);
  if (kind == ScalarKind::kInt || kind == ScalarKind::kDecimal || kind == ScalarKind::kBool) return text;
  return StrCat("\"", text, "\"");
}

// In flow form on one line; what was in quotes stays in quotes.
void EmitFlow(const YAML::Node& node, YAML::Emitter& out) {
  if (node.IsMap()) {
    out << YAML::Flow << YAML::BeginMap;
    for (const auto& field : node) {
      out << YAML::Key << field.first << YAML::Value;
      EmitFlow(field.second, out);
    }
    out << YAML::EndMap;
  } else if (node.IsSequence()) {
    out << YAML::Flow << YAML::BeginSeq;
    for (const auto& item : node) EmitFlow(item, out);
    out << YAML::EndSeq;
  } else if (node.IsScalar()) {
    if (node.Tag() == "!") out << YAML::DoubleQuoted;
    out << node.Scalar();
  } else {
    out << YAML::Null;
  }
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string Quoted(const std::string_view* names, size_t count) {
  std::string out;
  for (size_t i = 0; i < count; ++i) StrAppend(&out, i == 0 ? "" : (i + 1 == count ? " or " : ", "), names[i]);
  return out;
}

}  // namespace

std::string NearMiss(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::min<size_t>(3, word.size() / 2 + 1);
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(ToLower(word), ToLower(candidate));
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

void ErrorList::Add(std::string_view path, const YAML::Node& at, std::string_view message) {
  const int line = at.IsDefined() ? at.Mark().line : -1;
  std::string where = line < 0 ? file_name_ : StrCat(file_name_, ":", line + 1);
  lines_.push_back(StrCat(path, path.empty() ? "" : ": ", message, " (", where, ")"));
}

Section::Section(const YAML::Node& node, std::string path, ErrorList* errors)
    : node_(node), path_(std::move(path)), errors_(errors), valid_(node.IsMap()) {
  if (!valid_) {
    errors_->Add(path_, node_, StrCat("expected a map of fields, found ", Shown(node_)));
    return;
  }
  std::vector<std::string> seen;
  for (const auto& field : node_) {
    const std::string key = field.first.IsScalar() ? field.first.Scalar() : "?";
    if (std::find(seen.begin(), seen.end(), key) != seen.end())
      errors_->Add(PathOf(key), field.first, "is given twice");
    seen.push_back(key);
  }
}

std::string Section::PathOf(std::string_view name) const {
  return path_.empty() ? std::string(name) : StrCat(path_, ".", name);
}

YAML::Node Section::Find(std::string_view name) {
  known_.emplace_back(name);
  if (!valid_) return YAML::Node(YAML::NodeType::Undefined);
  for (const auto& field : node_) {
    if (field.first.IsScalar() && field.first.Scalar() == name && !field.second.IsNull()) return field.second;
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

YAML::Node Section::FindRequired(std::string_view name, bool required) {
  YAML::Node node = Find(name);
  if (required && valid_ && node.Type() == YAML::NodeType::Undefined) errors_->Add(PathOf(name), node_, "is missing");
  return node;
}

void Section::Wrong(std::string_view name, const YAML::Node& node, std::string_view expected) {
  errors_->Add(PathOf(name), node, StrCat("expected ", expected, ", found ", Shown(node)));
}

void Section::Text(std::string_view name, std::string* out, const TextRule& rule) {
  const YAML::Node node = FindRequired(name, rule.required);
  if (node.Type() == YAML::NodeType::Undefined) return;
  const std::string_view expected = rule.expected.empty() ? "text" : rule.expected;
  if (!node.IsScalar()) return Wrong(name, node, expected);
  const ScalarKind kind = KindOf(node);
  if (kind != ScalarKind::kText && kind != ScalarKind::kQuoted)
    return Wrong(name, node, StrCat("text; put it in quotes: \"", node.Scalar(), "\""));
  const std::string& text = node.Scalar();
  if (text.size() > rule.max_length) return Wrong(name, node, StrCat("at most ", rule.max_length, " characters"));
  if (rule.required && text.empty()) return Wrong(name, node, expected);
  if (!rule.pattern.empty() && !std::regex_match(text, std::regex(std::string(rule.pattern))))
    return Wrong(name, node, expected);
  *out = text;
}

void Section::Int(std::string_view name, int* out, const IntRule& rule) {
  const YAML::Node node = FindRequired(name, rule.required);
  if (node.Type() == YAML::NodeType::Undefined) return;
  const std::string what =
      StrCat("a whole number", rule.unit.empty() ? "" : " of ", rule.unit, " from ", rule.min, " to ", rule.max);
  int64_t value = 0;
  if (!node.IsScalar() || KindOf(node) != ScalarKind::kInt || !ParseInt(node.Scalar(), &value))
    return Wrong(name, node, what);
  if (value < rule.min || value > rule.max) return Wrong(name, node, what);
  *out = static_cast<int>(value);
}

void Section::Int(std::string_view name, std::optional<int>* out, const IntRule& rule) {
  constexpr int kAbsent = -2'000'000'000;
  int value = kAbsent;
  Int(name, &value, rule);
  if (value != kAbsent) *out = value;
}

void Section::Bool(std::string_view name, bool* out) {
  const YAML::Node node = Find(name);
  if (node.Type() == YAML::NodeType::Undefined) return;
  if (!node.IsScalar() || KindOf(node) != ScalarKind::kBool) return Wrong(name, node, "true or false");
  *out = ToLower(node.Scalar()) == "true";
}

void Section::DecimalText(std::string_view name, Decimal* out, const DecimalRule& rule) {
  const YAML::Node node = FindRequired(name, rule.required);
  if (node.Type() == YAML::NodeType::Undefined) return;
  static const std::regex kPattern("[0-9]{1,12}(\\.[0-9]{1,9})?");
  std::string expected = StrCat("a decimal in quotes such as \"", rule.example, "\"");
  if (!node.IsScalar()) return Wrong(name, node, expected);
  if (KindOf(node) != ScalarKind::kQuoted || !std::regex_match(node.Scalar(), kPattern))
    return Wrong(name, node, expected);
  const double value = ToDouble(node.Scalar());
  StrAppend(&expected, rule.exclusive ? " between " : " from ", rule.min, rule.exclusive ? " and " : " to ", rule.max);
  const bool inside = rule.exclusive ? value > rule.min && value < rule.max : value >= rule.min && value <= rule.max;
  if (!inside) return Wrong(name, node, expected);
  *out = node.Scalar();
}

void Section::Map(std::string_view name, StringMap* out) {
  const YAML::Node node = Find(name);
  if (node.Type() == YAML::NodeType::Undefined) return;
  if (!node.IsMap()) return Wrong(name, node, "a map of names to text");
  for (const auto& field : node) {
    const std::string key = field.first.IsScalar() ? field.first.Scalar() : "";
    const bool text = field.second.IsScalar() &&
                      (KindOf(field.second) == ScalarKind::kText || KindOf(field.second) == ScalarKind::kQuoted);
    if (key.empty() || !text) {
      errors_->Add(StrCat(PathOf(name), "[", key, "]"), field.second,
                   StrCat("expected text (in quotes), found ", Shown(field.second)));
    } else {
      (*out)[key] = field.second.Scalar();
    }
  }
}

void Section::TextList(std::string_view name, std::vector<std::string>* out, size_t max_items, const TextRule& rule) {
  const YAML::Node node = Find(name);
  if (node.Type() == YAML::NodeType::Undefined) return;
  if (!node.IsSequence()) return Wrong(name, node, "a list of text");
  if (node.size() > max_items) return Wrong(name, node, StrCat("at most ", max_items, " items"));
  for (size_t i = 0; i < node.size(); ++i) {
    const YAML::Node item = node[i];
    const bool text = item.IsScalar() && (KindOf(item) == ScalarKind::kText || KindOf(item) == ScalarKind::kQuoted);
    const bool matches =
        text && item.Scalar().size() <= rule.max_length &&
        (rule.pattern.empty() || std::regex_match(item.Scalar(), std::regex(std::string(rule.pattern))));
    if (matches) {
      out->push_back(item.Scalar());
    } else {
      Wrong(StrCat(name, "[", i, "]"), item, rule.expected.empty() ? "text (in quotes)" : rule.expected);
    }
  }
}

void Section::Raw(std::string_view name, RawYaml* out, bool list) {
  const YAML::Node node = Find(name);
  if (node.Type() == YAML::NodeType::Undefined) return;
  if (list ? !node.IsSequence() : !node.IsMap()) return Wrong(name, node, list ? "a list" : "a map of fields");
  YAML::Emitter emitter;
  EmitFlow(node, emitter);
  *out = emitter.c_str();
}

void Section::Choice(std::string_view name, size_t* index, const std::string_view* names, size_t count, bool required) {
  const YAML::Node node = FindRequired(name, required);
  if (node.Type() == YAML::NodeType::Undefined) return;
  const std::string value = node.IsScalar() ? node.Scalar() : "";
  for (size_t i = 0; i < count; ++i) {
    if (node.IsScalar() && value == names[i]) {
      *index = i;
      return;
    }
  }
  const std::string near = NearMiss(value, {names, names + count});
  errors_->Add(PathOf(name), node,
               StrCat("expected ", Quoted(names, count), ", found ", Shown(node), near.empty() ? "" : "; did you mean ",
                      near, near.empty() ? "" : "?"));
}

void Section::Sub(std::string_view name, const std::function<void(Section&)>& read, bool required) {
  const YAML::Node node = FindRequired(name, required);
  if (node.Type() == YAML::NodeType::Undefined) return;
  Section section(node, PathOf(name), errors_);
  if (!section.valid()) return;
  read(section);
  section.Finish();
}

void Section::SubList(std::string_view name, size_t max_items, const std::function<void(Section&)>& read) {
  const YAML::Node node = Find(name);
  if (node.Type() == YAML::NodeType::Undefined) return;
  if (!node.IsSequence()) return Wrong(name, node, "a list");
  if (node.size() > max_items) return Wrong(name, node, StrCat("at most ", max_items, " items"));
  for (size_t i = 0; i < node.size(); ++i) {
    Section section(node[i], StrCat(PathOf(name), "[", i, "]"), errors_);
    if (!section.valid()) continue;
    read(section);
    section.Finish();
  }
}

void Section::Finish() {
  if (!valid_) return;
  for (const auto& field : node_) {
    const std::string key = field.first.IsScalar() ? field.first.Scalar() : "?";
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string near = NearMiss(key, known_);
    const std::string hint =
        near.empty() ? StrCat("; the fields here are ", Join(known_, ", ")) : StrCat("; did you mean ", near, "?");
    errors_->Add(PathOf(key), field.first, StrCat("unknown field", hint));
  }
}

}  // namespace patella::api
