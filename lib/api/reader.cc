#include "lib/api/reader.h"

#include <re2/re2.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>
#include <unordered_map>

#include "absl/time/time.h"
#include "lib/base/text.h"

namespace patella::api {
namespace {

using Kind = Node::Kind;

// Compiled once; patterns are literals, so that views of them stay good.
const RE2& Compiled(std::string_view pattern) {
  static std::mutex mutex;
  static auto& cache = *new std::unordered_map<std::string_view, std::unique_ptr<RE2>>;
  const std::lock_guard lock(mutex);
  std::unique_ptr<RE2>& entry = cache[pattern];
  if (entry == nullptr) entry = std::make_unique<RE2>(re2::StringPiece(pattern.data(), pattern.size()));
  return *entry;
}

bool Matches(const std::string& text, std::string_view pattern) {
  return pattern.empty() || RE2::PartialMatch(text, Compiled(pattern));
}

size_t Characters(std::string_view text) {  // code points, as the API server counts
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string Shown(const Node& node) {
  switch (node.kind) {
    case Kind::kMap:
      return "a map";
    case Kind::kList:
      return "a list";
    case Kind::kAbsent:
    case Kind::kNull:
      return "nothing";
    case Kind::kText:
    case Kind::kQuoted:
      return StrCat("\"", node.text.substr(0, 60), "\"");
    default:
      return node.text.substr(0, 60);
  }
}

bool IsScalar(const Node& node) { return !node.IsAbsent() && !node.IsMap() && !node.IsList(); }

// Empty if `node` is text that keeps the rule, else what was expected.
std::string ExpectedText(const Node& node, const TextRule& rule) {
  const std::string_view expected = rule.expected.empty() ? "text" : rule.expected;
  if (!IsScalar(node)) return std::string(expected);
  if (!node.IsText()) return StrCat("text; put it in quotes: \"", node.text, "\"");
  const size_t length = Characters(node.text);
  if (length > rule.max_length) return StrCat("at most ", rule.max_length, " characters");
  if (length < rule.min_length && length == 0) return StrCat(expected, expected == "text" ? " that is not empty" : "");
  if (length < rule.min_length) return StrCat("at least ", rule.min_length, " characters");
  if (!Matches(node.text, rule.pattern)) return std::string(expected);
  if (absl::Time time; rule.time && !absl::ParseTime(absl::RFC3339_full, node.text, &time, nullptr))
    return "a time such as \"2026-03-01T12:00:00Z\"";
  return "";
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

std::string Listed(std::span<const std::string_view> names) {
  std::string out;
  for (size_t i = 0; i < names.size(); ++i)
    StrAppend(&out, i == 0 ? "" : (i + 1 == names.size() ? " or " : ", "), names[i]);
  return out;
}

std::string DidYouMean(const std::string& near) { return near.empty() ? "" : StrCat("; did you mean ", near, "?"); }

}  // namespace

std::string NearMiss(std::string_view word, std::span<const std::string_view> candidates) {
  std::string best;
  word = word.substr(0, 64);
  size_t best_distance = std::min<size_t>(3, word.size() / 2 + 1);
  for (const std::string_view candidate : candidates) {
    const size_t distance = EditDistance(ToLower(word), ToLower(candidate));
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

void ErrorList::Add(std::string_view path, int line, std::string_view message) {
  const std::string where = line <= 0 ? file_name_ : StrCat(file_name_, ":", line);
  lines_.push_back(StrCat(path, path.empty() ? "" : ": ", message, where.empty() ? "" : StrCat(" (", where, ")")));
}

Section::Section(const Node& node, std::string path, ErrorList* errors)
    : node_(node), path_(std::move(path)), errors_(errors), valid_(node.IsMap()) {
  if (!valid_) {
    errors_->Add(path_, node_.line, StrCat("expected a map of fields, found ", Shown(node_)));
    return;
  }
  for (size_t i = 0; i < node_.fields.size(); ++i) {
    const Field& field = node_.fields[i];
    if (node_.Find(field.key) != &field.value) errors_->Add(PathOf(field.key), field.line, "is given twice");
  }
}

std::string Section::PathOf(std::string_view name) const {
  return path_.empty() ? std::string(name) : StrCat(path_, ".", name);
}

std::string Section::ItemPath(std::string_view name, size_t index) const {
  return StrCat(PathOf(name), "[", index, "]");
}

const Node* Section::Find(std::string_view name) {
  if (std::find(known_.begin(), known_.end(), name) == known_.end()) known_.push_back(name);
  const Node* node = valid_ ? node_.Find(name) : nullptr;
  return node == nullptr || node->IsAbsent() ? nullptr : node;
}

const Node* Section::FindRequired(std::string_view name, bool required) {
  const Node* node = Find(name);
  if (required && valid_ && node == nullptr) errors_->Add(PathOf(name), node_.line, "is missing");
  return node;
}

const Node* Section::FindMap(std::string_view name, bool required) { return FindRequired(name, required); }

const Node* Section::FindList(std::string_view name, const ListRule& rule) {
  const Node* node = FindRequired(name, rule.required);
  if (node == nullptr) return nullptr;
  if (!node->IsList()) {
    Wrong(name, *node, "a list");
  } else if (node->items.size() > rule.max_items) {
    errors_->Add(PathOf(name), node->line,
                 StrCat("expected at most ", rule.max_items, " items, found ", node->items.size()));
  } else if (node->items.size() < rule.min_items) {
    errors_->Add(PathOf(name), node->line,
                 StrCat("expected at least ", rule.min_items, " items, found ", node->items.size()));
  } else {
    return node;
  }
  return nullptr;
}

void Section::CheckKeys(std::string_view name, const Node& list, const ListRule& rule) {
  if (rule.keys.empty()) return;
  std::vector<std::string> seen;
  for (size_t i = 0; i < list.items.size(); ++i) {
    std::string values;
    for (const ListKey& key : rule.keys) {
      const Node* value = list.items[i].Find(key.name);
      StrAppend(&values, values.empty() ? "" : ", ", key.name, " ",
                value == nullptr || value->IsAbsent() ? std::string(key.fallback) : value->text);
    }
    if (std::find(seen.begin(), seen.end(), values) != seen.end())
      errors_->Add(ItemPath(name, i), list.items[i].line, StrCat("repeats ", values));
    seen.push_back(std::move(values));
  }
}

void Section::Wrong(std::string_view name, const Node& node, std::string_view expected) {
  errors_->Add(PathOf(name), node.line, StrCat("expected ", expected, ", found ", Shown(node)));
}

void Section::Text(std::string_view name, std::string* out, const TextRule& rule) {
  const Node* node = FindRequired(name, rule.required);
  if (node == nullptr) return;
  if (const std::string expected = ExpectedText(*node, rule); !expected.empty()) return Wrong(name, *node, expected);
  if (out != nullptr) *out = node->text;
}

std::optional<int64_t> Section::Whole(std::string_view name, const IntRule& rule) {
  const Node* node = FindRequired(name, rule.required);
  if (node == nullptr) return std::nullopt;
  int64_t value = 0;
  if (node->kind != Kind::kInt || !ParseInt(node->text.substr(node->text.starts_with('+')), &value) ||
      value < rule.min || value > rule.max) {
    Wrong(name, *node,
          StrCat("a whole number", rule.unit.empty() ? "" : " of ", rule.unit, " from ", rule.min, " to ", rule.max));
    return std::nullopt;
  }
  return value;
}

void Section::Bool(std::string_view name, std::optional<bool>* out) {
  bool value = false;
  if (Find(name) == nullptr) return;
  Bool(name, &value);
  *out = value;
}

void Section::Bool(std::string_view name, bool* out, bool required) {
  const Node* node = FindRequired(name, required);
  if (node == nullptr) return;
  if (node->kind != Kind::kBool) return Wrong(name, *node, "true or false");
  if (out != nullptr) *out = IsTrue(*node);
}

void Section::DecimalText(std::string_view name, Decimal* out, const DecimalRule& rule) {
  const Node* node = FindRequired(name, rule.required);
  if (node == nullptr) return;
  const std::string bounds = rule.below   ? StrCat(" between ", rule.above.value_or(0), " and ", *rule.below)
                             : rule.above ? StrCat(" above ", *rule.above)
                                          : "";
  const bool decimal = node->kind == Kind::kQuoted && Matches(node->text, "^[0-9]{1,9}(\\.[0-9]{1,9})?$");
  const double value = decimal ? ToDouble(node->text) : 0;
  if (!decimal || (rule.above && value <= *rule.above) || (rule.below && value >= *rule.below))
    return Wrong(name, *node, StrCat("a decimal in quotes such as \"", rule.example, "\"", bounds));
  if (out != nullptr) *out = node->text;
}

void Section::Map(std::string_view name, StringMap* out, const MapRule& rule) {
  const Node* node = Find(name);
  if (node == nullptr) return;
  if (!node->IsMap()) return Wrong(name, *node, "a map of names to text");
  if (node->fields.size() > rule.max_items)
    return errors_->Add(PathOf(name), node->line,
                        StrCat("expected at most ", rule.max_items, " names, found ", node->fields.size()));
  for (const Field& field : node->fields) {
    const std::string path = StrCat(PathOf(name), "[", field.key, "]");
    if (node->Find(field.key) != &field.value) errors_->Add(path, field.line, "is given twice");
    if (field.value.kind == Kind::kNull) continue;  // as good as absent
    if (rule.whole_numbers_too && field.value.kind == Kind::kInt && field.value.text.front() != '-') continue;
    if (const std::string expected = ExpectedText(field.value, rule.value); !expected.empty()) {
      errors_->Add(path, field.value.line, StrCat("expected ", expected, ", found ", Shown(field.value)));
    } else if (out != nullptr) {
      (*out)[field.key] = field.value.text;
    }
  }
}

void Section::TextList(std::string_view name, std::vector<std::string>* out, const ListRule& rule,
                       const TextRule& item) {
  const Node* node = FindList(name, rule);
  if (node == nullptr) return;
  std::vector<std::string> seen;
  for (size_t i = 0; i < node->items.size(); ++i) {
    const Node& value = node->items[i];
    if (const std::string expected = ExpectedText(value, item); !expected.empty()) {
      errors_->Add(ItemPath(name, i), value.line, StrCat("expected ", expected, ", found ", Shown(value)));
      continue;
    }
    if (rule.unique && std::find(seen.begin(), seen.end(), value.text) != seen.end())
      errors_->Add(ItemPath(name, i), value.line, StrCat("repeats \"", value.text, "\""));
    seen.push_back(value.text);
  }
  if (out != nullptr) *out = std::move(seen);
}

void Section::Raw(std::string_view name, RawJson* out) {
  if (const Node* node = Find(name)) *out = ToJson(*node);
}

void Section::AtMost(size_t fields, bool any) {
  any_ = any;
  if (node_.fields.size() > fields)
    errors_->Add(path_, node_.line, StrCat("expected at most ", fields, " fields, found ", node_.fields.size()));
}

std::optional<size_t> Section::Choice(std::string_view name, std::span<const std::string_view> names, bool required) {
  const Node* node = FindRequired(name, required);
  if (node == nullptr) return std::nullopt;
  const auto it = std::find(names.begin(), names.end(), node->text);
  if (it != names.end() && node->IsText()) return static_cast<size_t>(it - names.begin());
  const std::string expected = StrCat("expected ", Listed(names), ", found ", Shown(*node));
  if (it != names.end() && IsScalar(*node)) {  // Off, True
    errors_->Add(PathOf(name), node->line,
                 StrCat(expected, ", which without quotes is a truth value: write \"", node->text, "\""));
  } else {
    errors_->Add(PathOf(name), node->line,
                 StrCat(expected, DidYouMean(IsScalar(*node) ? NearMiss(node->text, names) : "")));
  }
  return std::nullopt;
}

void Section::Finish() {
  if (!valid_ || any_ || errors_->unknown() == Unknown::kIgnored) return;
  for (const Field& field : node_.fields) {
    if (std::find(known_.begin(), known_.end(), field.key) != known_.end()) continue;
    const std::string near = NearMiss(field.key, known_);
    errors_->Add(PathOf(field.key), field.line,
                 StrCat("unknown field",
                        near.empty() ? StrCat("; the fields here are ", Join(known_, ", ")) : DidYouMean(near)));
  }
}

}  // namespace patella::api
