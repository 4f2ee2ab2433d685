// Typed reading of a JSON object that explains what is wrong. Internal to lib/wire's .cc files (it includes nlohmann's header).
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace patella::wire {

using Json = nlohmann::json;

// InvalidArgument (400) if the text is not a JSON object.
inline absl::StatusOr<Json> ParseObject(std::string_view body) {
  Json parsed = Json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return absl::InvalidArgumentError("the request body is not JSON");
  if (!parsed.is_object()) return absl::InvalidArgumentError("the request body must be a JSON object");
  return parsed;
}

// Keeps the first error; absent and null fields leave the value as it was. Errors are OutOfRange (422).
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {}

  const Json* Find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  void Fail(std::string message) {
    if (status_.ok()) status_ = absl::OutOfRangeError(std::move(message));
  }
  void Expect(const char* key, const char* what) { Fail("`" + std::string(key) + "` must be " + what); }

  void Int(const char* key, int* out, int low, int high = std::numeric_limits<int>::max()) {
    const Json* v = Find(key);
    if (v == nullptr) return;
    if (!v->is_number_integer() || v->get<double>() < low || v->get<double>() > high) {
      const bool bounded = high < std::numeric_limits<int>::max();
      const std::string what = "an integer of at least " + std::to_string(low);
      return Expect(key, (bounded ? what + " and at most " + std::to_string(high) : what).c_str());
    }
    *out = v->get<int>();
  }
  void Float(const char* key, float* out, float low, float high) {
    const Json* v = Find(key);
    if (v == nullptr) return;
    if (!v->is_number() || !(v->get<double>() >= low && v->get<double>() <= high)) {
      return Expect(key, ("a number between " + Short(low) + " and " + Short(high)).c_str());
    }
    *out = v->get<float>();
  }
  void Bool(const char* key, bool* out) {
    const Json* v = Find(key);
    if (v == nullptr) return;
    if (!v->is_boolean()) return Expect(key, "true or false");
    *out = v->get<bool>();
  }
  // A string or an array of strings.
  void Strings(const char* key, std::vector<std::string>* out, size_t most) {
    const Json* v = Find(key);
    if (v == nullptr) return;
    const Json list = v->is_array() ? *v : Json::array({*v});
    if (list.size() > most) return Expect(key, ("at most " + std::to_string(most) + " strings").c_str());
    for (const Json& s : list) {
      if (!s.is_string()) return Expect(key, "a string or an array of strings");
      if (!s.get_ref<const std::string&>().empty()) out->push_back(s.get<std::string>());
    }
  }
  // Fails if the field is there and is not one of the values that change nothing.
  void Refuse(const char* key, std::initializer_list<Json> harmless, const char* why) {
    const Json* v = Find(key);
    if (v == nullptr) return;
    for (const Json& h : harmless) {
      if (*v == h) return;
    }
    Fail("`" + std::string(key) + "` is not supported: " + why);
  }
  void Seed(std::optional<uint64_t>* out) {
    const Json* v = Find("seed");
    if (v == nullptr) return;
    if (!v->is_number_integer()) return Expect("seed", "an integer");
    *out = v->is_number_unsigned() ? v->get<uint64_t>() : static_cast<uint64_t>(v->get<int64_t>());
  }
  const absl::Status& status() const { return status_; }

 private:
  static std::string Short(float v) {
    const std::string text = std::to_string(v);
    return text.substr(0, text.find('.') + 2);
  }
  const Json& object_;
  absl::Status status_;
};

}  // namespace patella::wire
