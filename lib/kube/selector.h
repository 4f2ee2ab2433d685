// Label and field selectors as the API server reads them, for MemoryClient. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/kube/object.h"

namespace patella::kube {

class Selector {
 public:
  // "a=b,c==d,e!=f,g in (h,i),j notin (k),l,!m"; fields: metadata.name and metadata.namespace with = and !=.
  // InvalidArgument names what cannot be read. Empty texts select everything.
  static absl::StatusOr<Selector> Parse(std::string_view labels, std::string_view fields);

  bool Matches(const Object& object) const;

 private:
  struct Term {
    std::string key;
    bool field = false;
    bool negated = false;             // !=, notin, !key
    bool any_value = false;           // key, !key
    std::vector<std::string> values;  // otherwise one of these
  };
  static absl::StatusOr<Term> ParseTerm(std::string_view text, bool field);
  std::vector<Term> terms_;
};

}  // namespace patella::kube
