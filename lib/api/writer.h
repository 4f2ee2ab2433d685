// Builds maps for printing: required fields, and of the others what is set and differs from its default. Internal to lib/api;
// generated/*.cc call it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/api/enums.h"
#include "lib/api/metadata.h"
#include "lib/api/node.h"

namespace patella::api {

// `text`, or if it is longer than `characters` so much of it that an ellipsis still fits.
std::string Cut(const std::string& text, size_t characters);

class Writer {
 public:
  void Text(const char* name, const std::string& value) { Add(name, Node::Kind::kQuoted, value); }
  void TextUnless(const char* name, const std::string& value, std::string_view fallback) {
    if (value != fallback) Text(name, value);
  }
  void Int(const char* name, int64_t value) { Add(name, Node::Kind::kInt, std::to_string(value)); }
  void IntUnless(const char* name, int64_t value, int64_t fallback) {
    if (value != fallback) Int(name, value);
  }
  template <typename T>
  void Int(const char* name, const std::optional<T>& value) {
    if (value) Int(name, static_cast<int64_t>(*value));
  }
  void Bool(const char* name, bool value) { Add(name, Node::Kind::kBool, value ? "true" : "false"); }
  void BoolUnless(const char* name, bool value, bool fallback) {
    if (value != fallback) Bool(name, value);
  }
  void Bool(const char* name, const std::optional<bool>& value) {
    if (value) Bool(name, *value);
  }
  template <typename E>
  void Enum(const char* name, E value) {
    Text(name, std::string(NameOf(value)));
  }
  template <typename E>
  void EnumUnless(const char* name, E value, E fallback) {
    if (value != fallback) Enum(name, value);
  }
  template <typename E>
  void Enum(const char* name, const std::optional<E>& value) {
    if (value) Enum(name, *value);
  }
  void Map(const char* name, const StringMap& map);
  void TextList(const char* name, const std::vector<std::string>& items);
  void Raw(const char* name, const RawJson& json) {
    if (!json.empty()) Add(name, Node::Kind::kRaw, json);
  }
  // An empty map is left out unless it is required.
  void Sub(const char* name, Node map, bool required = false) {
    if (required || !map.fields.empty()) node_.fields.push_back({name, 0, std::move(map)});
  }
  // The first `most` of the items.
  template <typename T, typename F>
  void SubList(const char* name, const std::vector<T>& items, F&& write, bool required = false,
               size_t most = SIZE_MAX) {
    if (items.empty() && !required) return;
    Node list{.kind = Node::Kind::kList};
    for (size_t i = 0; i < items.size() && i < most; ++i) list.items.push_back(write(items[i]));
    node_.fields.push_back({name, 0, std::move(list)});
  }
  Node Take() { return std::move(node_); }

 private:
  void Add(const char* name, Node::Kind kind, std::string text) {
    node_.fields.push_back({name, 0, Node{.kind = kind, .text = std::move(text)}});
  }

  Node node_{.kind = Node::Kind::kMap};
};

}  // namespace patella::api
