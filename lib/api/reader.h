// Reads YAML maps field by field and collects errors with path and line. Internal to lib/api.
//
//   Section spec(node, "spec", &errors);
//   spec.Int("replicas", &out->replicas, {.min = 0, .max = 1000});
//   spec.Finish();   // whatever was not asked for is an unknown field
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/api/inference_deployment.h"

namespace patella::api {

class ErrorList {
 public:
  explicit ErrorList(std::string_view file_name) : file_name_(file_name) {}
  void Add(std::string_view path, const YAML::Node& at, std::string_view message);
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  std::string file_name_;
  std::vector<std::string> lines_;
};

struct IntRule {
  int min = 0;
  int max = 1'000'000;
  std::string_view unit = {};  // "milliseconds"
  bool required = false;
};

struct TextRule {
  size_t max_length = 253;
  bool required = false;
  std::string_view pattern = {};   // ECMAScript, anchored
  std::string_view expected = {};  // what the pattern means: "a DNS label such as \"llama-2-7b\""
};

struct DecimalRule {
  double min = 0;
  double max = 1e9;
  bool exclusive = false;  // of both ends
  std::string_view example = "0.90";
  bool required = false;
};

class Section {
 public:
  // A node that is not a map is reported once; then every field reads as absent.
  Section(const YAML::Node& node, std::string path, ErrorList* errors);

  bool valid() const { return valid_; }
  const std::string& path() const { return path_; }
  ErrorList* errors() const { return errors_; }

  void Text(std::string_view name, std::string* out, const TextRule& rule = {});
  void Int(std::string_view name, int* out, const IntRule& rule = {});
  void Int(std::string_view name, std::optional<int>* out, const IntRule& rule = {});
  void Bool(std::string_view name, bool* out);
  void DecimalText(std::string_view name, Decimal* out, const DecimalRule& rule = {});
  void Map(std::string_view name, StringMap* out);
  void TextList(std::string_view name, std::vector<std::string>* out, size_t max_items, const TextRule& rule = {});
  void Raw(std::string_view name, RawYaml* out, bool list);
  void Ignore(std::string_view name) { Find(name); }
  void Choice(std::string_view name, size_t* index, const std::string_view* names, size_t count, bool required = false);
  template <typename E>
  void Enum(std::string_view name, E* out, bool required = false) {
    size_t index = static_cast<size_t>(*out);
    Choice(name, &index, EnumNames<E>::kNames.data(), EnumNames<E>::kNames.size(), required);
    *out = static_cast<E>(index);
  }

  // Calls `read` if the field is there.
  void Sub(std::string_view name, const std::function<void(Section&)>& read, bool required = false);
  void SubList(std::string_view name, size_t max_items, const std::function<void(Section&)>& read);

  void Finish();

 private:
  YAML::Node Find(std::string_view name);  // remembers the name; a null value is as good as absent
  YAML::Node FindRequired(std::string_view name, bool required);
  std::string PathOf(std::string_view name) const;
  void Wrong(std::string_view name, const YAML::Node& node, std::string_view expected);

  YAML::Node node_;
  std::string path_;
  ErrorList* errors_;
  bool valid_;
  std::vector<std::string> known_;
};

// Closest of `candidates` to `word` if it is near enough to be a slip (edit distance ≤ 2, or equal but for case), else "".
std::string NearMiss(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace patella::api
