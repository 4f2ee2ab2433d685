#include "lib/kube/memory_apply.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace patella::kube {
namespace {

using nlohmann::json;
using Leaves = std::map<FieldPath, json>;

// The key of a list that is a map; null for one value.
const std::string* KeyOf(const ListKeys& keys, const std::string& field, const json& list) {
  const auto found = keys.find(field);
  if (found == keys.end() || !list.is_array()) return nullptr;
  const bool map = std::all_of(list.begin(), list.end(),
                               [&](const json& item) { return item.is_object() && item.contains(found->second); });
  return map ? &found->second : nullptr;
}

std::string ItemName(const std::string& key, const json& value) {
  return "[" + key + "=" + (value.is_string() ? value.get<std::string>() : value.dump()) + "]";
}

void Flatten(const ListKeys& keys, const json& value, FieldPath& path, Leaves& leaves) {
  if (value.is_object() && (path.empty() || !value.empty())) {  // nothing at all has no leaf
    for (const auto& [name, member] : value.items()) {
      path.push_back(name);
      Flatten(keys, member, path, leaves);
      path.pop_back();
    }
    return;
  }
  const std::string* key = path.empty() ? nullptr : KeyOf(keys, path.back(), value);
  if (key != nullptr && !value.empty()) {
    for (const json& item : value) {
      path.push_back(ItemName(*key, item.at(*key)));
      Flatten(keys, item, path, leaves);
      path.pop_back();
    }
    return;
  }
  leaves[path] = value;
}

Leaves LeavesOf(const ListKeys& keys, const json& value) {
  Leaves leaves;
  FieldPath path;
  Flatten(keys, value, path, leaves);
  return leaves;
}

// The member or list item; null if it is not there.
json* Step(json& value, const std::string& name) {
  if (value.is_object()) {
    const auto found = value.find(name);
    return found == value.end() ? nullptr : &*found;
  }
  if (!value.is_array() || !name.starts_with('[')) return nullptr;
  const std::string key = name.substr(1, name.find('=') - 1);
  for (json& item : value) {
    if (item.is_object() && item.contains(key) && ItemName(key, item[key]) == name) return &item;
  }
  return nullptr;
}

void EraseStep(json& value, const std::string& name) {
  if (value.is_object()) {
    value.erase(name);
  } else if (json* item = Step(value, name)) {
    value.erase(static_cast<size_t>(item - &value.front()));
  }
}

// A list item of which nothing but its key is left is nothing.
bool IsNothing(const json& value, const std::string& name) {
  if (value.is_null()) return true;
  if (!value.is_structured()) return false;
  if (value.empty()) return true;
  return name.starts_with('[') && value.size() == 1 && value.contains(name.substr(1, name.find('=') - 1));
}

void EraseLeaf(json& value, const FieldPath& path, size_t depth) {
  if (depth + 1 == path.size()) return EraseStep(value, path[depth]);
  json* next = Step(value, path[depth]);
  if (next == nullptr) return;
  EraseLeaf(*next, path, depth + 1);
  if (IsNothing(*next, path[depth])) EraseStep(value, path[depth]);
}

void Merge(const ListKeys& keys, const std::string& field, const json& from, json& into) {
  if (from.is_object() && into.is_object()) {
    for (const auto& [name, member] : from.items()) {
      if (into.contains(name)) {
        Merge(keys, name, member, into[name]);
      } else {
        into[name] = member;
      }
    }
    return;
  }
  const std::string* key = KeyOf(keys, field, from);
  if (key == nullptr || KeyOf(keys, field, into) == nullptr) {
    into = from;
    return;
  }
  for (const json& item : from) {
    if (json* there = Step(into, ItemName(*key, item.at(*key)))) {
      Merge(keys, "", item, *there);
    } else {
      into.push_back(item);
    }
  }
}

// The key of a list item names it; it is nobody's to take away alone.
bool IsItemKey(const FieldPath& path) {
  return path.size() > 1 && path[path.size() - 2].starts_with("[" + path.back() + "=");
}

}  // namespace

std::string ToString(const FieldPath& path) {
  std::string text;
  for (const std::string& step : path) text += step.starts_with('[') ? step : "." + step;
  return text;
}

std::vector<FieldConflict> ApplyIntent(const ListKeys& keys, const std::string& manager, const json& intent, bool force,
                                       Intents& intents, json& object) {
  const Leaves wanted = LeavesOf(keys, intent);
  std::vector<FieldConflict> conflicts;
  std::map<std::string, Leaves> others;
  for (const auto& [name, other] : intents) {
    if (name == manager) continue;
    Leaves& leaves = others[name] = LeavesOf(keys, other);
    for (const auto& [path, value] : wanted) {
      const auto theirs = leaves.find(path);
      if (theirs != leaves.end() && theirs->second != value) conflicts.push_back({path, name});
    }
  }
  if (!conflicts.empty() && !force) return conflicts;
  for (const FieldConflict& conflict : conflicts) {
    others[conflict.manager].erase(conflict.path);
    EraseLeaf(intents[conflict.manager], conflict.path, 0);
  }
  if (const auto before = intents.find(manager); before != intents.end()) {
    for (const auto& [path, value] : LeavesOf(keys, before->second)) {
      const bool kept =
          wanted.contains(path) ||
          std::any_of(others.begin(), others.end(), [&path = path](const auto& o) { return o.second.contains(path); });
      if (!kept && !IsItemKey(path)) EraseLeaf(object, path, 0);
    }
  }
  Merge(keys, "", intent, object);
  intents[manager] = intent;
  return {};
}

}  // namespace patella::kube
