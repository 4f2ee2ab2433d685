// Reads maps field by field and collects errors with path and line. Internal to lib/api; generated/*.cc call it.
//
//   Section spec(node, "spec", &errors);
//   spec.Int("replicas", &out->replicas, {.min = 0, .max = 1000});
//   spec.Finish();   // whatever was not asked for is an unknown field
//
// A null pointer for `out` means: check only.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/api/enums.h"
#include "lib/api/metadata.h"
#include "lib/api/node.h"

namespace patella::api {

enum class Unknown { kRefused, kIgnored };  // what becomes of fields that the schema does not have

class ErrorList {
 public:
  explicit ErrorList(std::string_view file_name, Unknown unknown = Unknown::kRefused)
      : file_name_(file_name), unknown_(unknown) {}
  void Add(std::string_view path, int line, std::string_view message);
  const std::vector<std::string>& lines() const { return lines_; }
  Unknown unknown() const { return unknown_; }

 private:
  std::string file_name_;
  Unknown unknown_;
  std::vector<std::string> lines_;
};

struct IntRule {
  int64_t min = 0;
  int64_t max = std::numeric_limits<int64_t>::max();
  std::string_view unit = {};  // "milliseconds"
  bool required = false;
};

struct TextRule {
  size_t min_length = 0;
  size_t max_length = 253;  // characters
  bool required = false;
  std::string_view pattern = {};   // RE2, as in the schema; must outlive the program
  std::string_view expected = {};  // what the pattern means: "a DNS label such as \"llama-2-7b\""
  bool time = false;               // RFC 3339
};

struct DecimalRule {
  std::optional<double> above = {}, below = {};  // exclusive
  std::string_view example = "0.90";
  bool required = false;
};

struct ListKey {
  std::string_view name;
  std::string_view fallback = {};  // the field's default
};

struct ListRule {
  size_t min_items = 0;
  size_t max_items = 64;
  bool required = false;
  std::span<const ListKey> keys = {};  // no two items have the same values of these
  bool unique = false;                 // of a list of text
};

struct MapRule {
  size_t max_items = 64;
  TextRule value = {};
  bool whole_numbers_too = false;
};

class Section {
 public:
  // A node that is not a map is reported once; then every field reads as absent.
  Section(const Node& node, std::string path, ErrorList* errors);

  bool valid() const { return valid_; }

  void Text(std::string_view name, std::string* out, const TextRule& rule = {});
  void Int(std::string_view name, int* out, const IntRule& rule = {}) { Number(name, out, rule); }
  void Int(std::string_view name, int64_t* out, const IntRule& rule = {}) { Number(name, out, rule); }
  void Int(std::string_view name, std::optional<int>* out, const IntRule& rule = {}) { Number(name, out, rule); }
  void Int(std::string_view name, std::optional<int64_t>* out, const IntRule& rule = {}) { Number(name, out, rule); }
  void CheckInt(std::string_view name, const IntRule& rule = {}) { Number<int64_t>(name, nullptr, rule); }
  void Bool(std::string_view name, bool* out, bool required = false);
  void Bool(std::string_view name, std::optional<bool>* out);
  void DecimalText(std::string_view name, Decimal* out, const DecimalRule& rule = {});
  void Map(std::string_view name, StringMap* out, const MapRule& rule = {});
  void TextList(std::string_view name, std::vector<std::string>* out, const ListRule& rule, const TextRule& item = {});
  void Ignore(std::string_view name) { Find(name); }
  // The name's index in `names`, if the field is there and one of them.
  std::optional<size_t> Choice(std::string_view name, std::span<const std::string_view> names, bool required = false);
  template <typename E>
  void Enum(std::string_view name, E* out, bool required = false) {
    if (const auto index = Choice(name, EnumNames<E>::kNames, required)) *out = static_cast<E>(*index);
  }
  template <typename E>
  void Enum(std::string_view name, std::optional<E>* out) {
    if (const auto index = Choice(name, EnumNames<E>::kNames)) *out = static_cast<E>(*index);
  }

  // Calls `read(Section&)` if the field is there and a map.
  template <typename F>
  void Sub(std::string_view name, F&& read, bool required = false) {
    if (const Node* node = FindMap(name, required)) ReadMap(*node, PathOf(name), errors_, read);
  }
  // The same, but what is wrong in there is as good as absent.
  template <typename F>
  void LenientSub(std::string_view name, F&& read) {
    ErrorList dropped("", Unknown::kIgnored);
    if (const Node* node = Find(name); node != nullptr && node->IsMap()) ReadMap(*node, PathOf(name), &dropped, read);
  }
  // Calls `read(Section&)` for each item.
  template <typename F>
  void SubList(std::string_view name, const ListRule& rule, F&& read) {
    const Node* node = FindList(name, rule);
    if (node == nullptr) return;
    for (size_t i = 0; i < node->items.size(); ++i) ReadMap(node->items[i], ItemPath(name, i), errors_, read);
    CheckKeys(name, *node, rule);
  }
  // The field as JSON. What it may hold has been or will be checked by asking for it another way.
  void Raw(std::string_view name, RawJson* out);
  // At most `fields` in this map, and (any) any of them beside those that were asked for.
  void AtMost(size_t fields, bool any);

  void Finish();

 private:
  template <typename F>
  static void ReadMap(const Node& node, std::string path, ErrorList* errors, F& read) {
    Section section(node, std::move(path), errors);
    if (!section.valid()) return;
    read(section);
    section.Finish();
  }
  template <typename Out>
  void Number(std::string_view name, Out* out, const IntRule& rule) {
    if (const std::optional<int64_t> value = Whole(name, rule); value && out != nullptr) Assign(out, *value);
  }
  static void Assign(int* out, int64_t value) { *out = static_cast<int>(value); }
  static void Assign(int64_t* out, int64_t value) { *out = value; }
  static void Assign(std::optional<int>* out, int64_t value) { *out = static_cast<int>(value); }
  static void Assign(std::optional<int64_t>* out, int64_t value) { *out = value; }

  std::optional<int64_t> Whole(std::string_view name, const IntRule& rule);
  const Node* Find(std::string_view name);  // remembers the name; null if absent; a null value is as good as absent
  const Node* FindRequired(std::string_view name, bool required);
  const Node* FindMap(std::string_view name, bool required);
  const Node* FindList(std::string_view name, const ListRule& rule);
  void CheckKeys(std::string_view name, const Node& list, const ListRule& rule);
  std::string PathOf(std::string_view name) const;
  std::string ItemPath(std::string_view name, size_t index) const;
  void Wrong(std::string_view name, const Node& node, std::string_view expected);

  const Node& node_;
  std::string path_;
  ErrorList* errors_;
  bool valid_;
  bool any_ = false;
  std::vector<std::string_view> known_;
};

// Closest of `candidates` to `word` if it is near enough to be a slip (edit distance ≤ 2, or equal but for case), else "".
std::string NearMiss(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace patella::api
