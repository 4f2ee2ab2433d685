#include "lib/api/schema_check.h"

#include <algorithm>
#include <set>
#include <string>

#include "lib/api/generated/codec.h"
#include "lib/api/node.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::api {
namespace {

constexpr size_t kNamed = 6;  // fields that a message names
constexpr char kRemedy[] =
    "bring the definitions up to date with `kubectl apply --server-side --force-conflicts -f deploy/crds` or, if Helm "
    "installed them, with `helm upgrade` and crds.enabled=true";

// All of `node`'s fields as the generator names them.
void Collect(const Node& node, const std::string& path, std::set<std::string, std::less<>>* out) {
  const Node* properties = node.Find("properties");
  if (properties == nullptr) return;
  for (const Field& field : properties->fields) {
    std::string where = path.empty() ? field.key : StrCat(path, ".", field.key);
    out->insert(where);
    const Node* schema = &field.value;
    if (const Node* items = schema->Find("items")) {
      schema = items;
      where += "[]";
    }
    if (const Node* choice = schema->Find("enum")) {
      for (const Node& name : choice->items) out->insert(StrCat(where, "=", name.text));
    }
    Collect(*schema, where, out);
  }
}

// True if `path` lies below `above`: its absence follows from the other's.
bool LiesBelow(std::string_view path, std::string_view above) {
  return path.size() > above.size() && path.starts_with(above) &&
         std::string_view(".[=").find(path[above.size()]) != std::string_view::npos;
}

std::vector<std::string_view> Lacking(const KnownKind& known, const Node& schema) {
  std::set<std::string, std::less<>> there;
  Collect(schema, "", &there);
  std::vector<std::string_view> lacking;
  for (const std::string_view path : known.fields) {  // parents come before what is in them
    const bool follows =
        std::any_of(lacking.begin(), lacking.end(), [path](std::string_view above) { return LiesBelow(path, above); });
    if (!follows && there.find(path) == there.end()) lacking.push_back(path);
  }
  return lacking;
}

}  // namespace

absl::Status CheckSchemas(std::string_view openapi) {
  PATELLA_ASSIGN_OR_RETURN(const Node document, LoadJson(openapi));
  const Node* components = document.Find("components");
  const Node* schemas = components == nullptr ? nullptr : components->Find("schemas");
  std::string message;
  for (const KnownKind& known : KnownKinds()) {
    const Node* schema = schemas == nullptr ? nullptr : schemas->Find(StrCat("dev.patella.v1alpha1.", known.kind));
    const std::string name = StrCat("the CustomResourceDefinition ", known.plural, ".patella.dev");
    if (schema == nullptr) {
      StrAppend(&message, name, " is missing in the cluster; ");
      continue;
    }
    std::vector<std::string_view> lacking = Lacking(known, *schema);
    if (lacking.empty()) continue;
    const size_t more = lacking.size() - std::min(lacking.size(), kNamed);
    lacking.resize(lacking.size() - more);
    StrAppend(&message, name, " is of an older Patella: it lacks ", Join(lacking, ", "),
              more == 0 ? std::string() : StrCat(" and ", more, " more"), "; ");
  }
  return message.empty() ? absl::OkStatus() : absl::FailedPreconditionError(StrCat(message, kRemedy));
}

}  // namespace patella::api
