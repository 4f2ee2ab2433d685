// Server-side apply for MemoryClient: who wants which field, and what follows for the object. Pure.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace patella::kube {

// List field name -> key of its items. Lists whose items all have that key are maps; others are one value.
using ListKeys = std::map<std::string, std::string>;

// A field's way from the root: names, and "[key=value]" for an item of a list that is a map.
using FieldPath = std::vector<std::string>;
std::string ToString(const FieldPath& path);  // ".spec.containers[name=a].image"

// The last intent of each manager.
using Intents = std::map<std::string, nlohmann::json>;

struct FieldConflict {
  FieldPath path;
  std::string manager;  // who wants it otherwise
};

// Makes `intent` the one of `manager`: its fields get its values; what it wanted before, wants no more, and nobody else
// wants, is removed. With conflicts and without `force` nothing is changed and they are returned; with `force` the
// others lose those fields.
std::vector<FieldConflict> ApplyIntent(const ListKeys& keys, const std::string& manager, const nlohmann::json& intent,
                                       bool force, Intents& intents, nlohmann::json& object);

}  // namespace patella::kube
