// A tree of YAML or JSON with the line of each value: what objects are read from and printed through. Internal to lib/api. Values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace patella::api {

struct Field;

struct Node {
  // kText is plain text, kQuoted text that could not be taken for anything else. kNumber is a number that is neither a whole nor a plain
  // decimal one (0x10, 1e3, 1_000). kRaw (in printing alone) is text that is JSON already.
  enum class Kind { kAbsent, kNull, kBool, kInt, kDecimal, kNumber, kText, kQuoted, kMap, kList, kRaw };
  Kind kind = Kind::kAbsent;
  std::string text;  // of a scalar, as it was written
  int line = 0;      // from 1; 0: unknown
  std::vector<Field> fields;
  std::vector<Node> items;

  bool IsAbsent() const { return kind == Kind::kAbsent || kind == Kind::kNull; }
  bool IsText() const { return kind == Kind::kText || kind == Kind::kQuoted; }
  bool IsMap() const { return kind == Kind::kMap; }
  bool IsList() const { return kind == Kind::kList; }
  const Node* Find(std::string_view name) const;  // the first field of that name, or null
};

struct Field {
  std::string key;
  int line = 0;
  Node value;
};

// The documents of a YAML text (JSON is YAML). Scalars are what kubectl takes them for (YAML 1.1: `off` is a truth value). InvalidArgument
// with the line if it is not YAML, too deep (100) or, with aliases expanded, too large (100,000 values).
absl::StatusOr<std::vector<Node>> LoadYaml(std::string_view text, std::string_view file_name);

// One JSON value, about ten times as fast; no lines. `managedFields` is skipped: nothing reads it and it is half of an object.
absl::StatusOr<Node> LoadJson(std::string_view text);

bool IsTrue(const Node& node);  // of a kBool

std::string ToJson(const Node& node);  // on one line
std::string ToYaml(const Node& node);  // block style, ends in a line feed

}  // namespace patella::api
