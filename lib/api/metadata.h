// What every object of the API has, and the types of its fields. Values; thread-compatible.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace patella::api {

inline constexpr char kApiVersion[] = "patella.dev/v1alpha1";

using StringMap = std::map<std::string, std::string>;
using Decimal = std::string;    // "0.90", because the API has no floating-point numbers; "" is not set
using Timestamp = std::string;  // RFC 3339, "2026-03-01T12:00:00Z"; "" is not set
using RawJson = std::string;    // a part of Kubernetes' own API that is passed on, as JSON on one line; "" is not set

double ToDouble(const Decimal& decimal);  // 0 if not set
// With `places` (0 to 9) digits behind the point; "" if the value is negative or no number, and never more than the nine digits before
// the point that the schema allows.
Decimal ToDecimal(double value, int places);

struct Metadata {
  std::string name;
  std::string namespace_name = "default";
  StringMap labels;
  StringMap annotations;
  // The API server's own; read when they are there, never printed but for resource_version.
  std::string uid;
  std::string resource_version;
  int64_t generation = 0;
  Timestamp creation_timestamp;
  Timestamp deletion_timestamp;  // set: the object is being deleted
  std::vector<std::string> finalizers;
  bool operator==(const Metadata&) const = default;
};

}  // namespace patella::api
