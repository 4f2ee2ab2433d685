#include "operator/apply/equal.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "lib/base/text.h"

namespace patella::apply {
namespace {

using nlohmann::json;

constexpr double kKi = 1024;

struct Suffix {
  std::string_view text;
  double factor;
};
constexpr std::array<Suffix, 15> kSuffixes = {{{"Ki", kKi},
                                               {"Mi", kKi* kKi},
                                               {"Gi", kKi* kKi* kKi},
                                               {"Ti", kKi* kKi* kKi* kKi},
                                               {"Pi", kKi* kKi* kKi* kKi* kKi},
                                               {"Ei", kKi* kKi* kKi* kKi* kKi* kKi},
                                               {"n", 1e-9},
                                               {"u", 1e-6},
                                               {"m", 1e-3},
                                               {"k", 1e3},
                                               {"M", 1e6},
                                               {"G", 1e9},
                                               {"T", 1e12},
                                               {"P", 1e15},
                                               {"E", 1e18}}};

bool ParseQuantity(const json& value, double* amount) {
  if (value.is_number()) return *amount = value.get<double>(), true;
  if (!value.is_string()) return false;
  std::string_view text = value.get_ref<const std::string&>();
  double factor = 1;
  for (const Suffix& suffix : kSuffixes) {
    if (!text.ends_with(suffix.text)) continue;
    factor = suffix.factor;
    text.remove_suffix(suffix.text.size());
    break;
  }
  if (!ParseDouble(text, amount)) return false;
  *amount *= factor;
  return true;
}

bool SameQuantity(const json& a, const json& b) {
  double x = 0, y = 0;
  return ParseQuantity(a, &x) && ParseQuantity(b, &y) &&
         std::fabs(x - y) <= 1e-9 * std::max(std::fabs(x), std::fabs(y));
}

// The key by which items of this list are told apart; null if its order counts.
const char* MergeKey(const json& list) {
  for (const char* key : {"uid", "mountPath", "containerPort", "name", "type"}) {
    std::set<json> seen;
    bool all = true;
    for (const json& item : list) all = all && item.is_object() && item.contains(key) && seen.insert(item[key]).second;
    if (all && !list.empty()) return key;
  }
  return nullptr;
}

// Maps of quantities, and fields that are one.
bool IsQuantity(const std::string& key) { return key == "limits" || key == "requests" || key == "sizeLimit"; }

bool Has(const json& live, const json& intent, bool quantities);

bool HasItems(const json& live, const json& intent) {
  const char* key = MergeKey(intent);
  if (key == nullptr) {
    if (live.size() != intent.size()) return false;
    for (size_t i = 0; i < intent.size(); ++i) {
      if (!Has(live[i], intent[i], false)) return false;
    }
    return true;
  }
  for (const json& item : intent) {
    bool found = false;
    for (const json& candidate : live) {
      if (!candidate.is_object() || candidate.value(key, json()) != item[key]) continue;
      if (found = Has(candidate, item, false); found) break;
    }
    if (!found) return false;
  }
  return true;
}

bool Has(const json& live, const json& intent, bool quantities) {
  if (intent.is_object()) {
    if (!live.is_object()) return false;
    for (const auto& [key, value] : intent.items()) {
      const auto found = live.find(key);
      const bool amount = quantities || IsQuantity(key);
      if (found == live.end() || !Has(*found, value, amount)) return false;
    }
    return true;
  }
  if (intent.is_array()) return live.is_array() && HasItems(live, intent);
  return live == intent || (quantities && SameQuantity(live, intent));
}

}  // namespace

bool Covers(std::string_view live_json, std::string_view intent_json) {
  const json live = json::parse(live_json, nullptr, /*allow_exceptions=*/false);
  const json intent = json::parse(intent_json, nullptr, /*allow_exceptions=*/false);
  return !live.is_discarded() && !intent.is_discarded() && Has(live, intent, false);
}

}  // namespace patella::apply
