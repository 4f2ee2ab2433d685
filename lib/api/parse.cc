#include "lib/api/parse.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "lib/api/generated/codec.h"
#include "lib/api/reader.h"
#include "lib/api/validate.h"
#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::api {
namespace {

constexpr size_t kMaxErrors = 20;
constexpr size_t kMaxFileBytes = 1 << 20;
constexpr std::string_view kKinds[] = {"InferenceDeployment", "AcceleratorClass", "ServingCurve"};
constexpr TextRule kLabel = {.max_length = 63,
                             .pattern = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
                             .expected = "at most 63 letters, digits, dashes, underscores and dots"};

void ReadMetadata(Section& s, const TextRule& name, Metadata* out) {
  TextRule rule = name;
  rule.required = true;
  s.Text("name", &out->name, rule);
  s.Text("namespace", &out->namespace_name, {.max_length = 63});
  s.Map("labels", &out->labels, {.max_items = 1000, .value = kLabel});
  s.Map("annotations", &out->annotations, {.max_items = 1000, .value = {.max_length = 256 << 10}});
  s.Text("uid", &out->uid);
  s.Text("resourceVersion", &out->resource_version);
  s.Int("generation", &out->generation);
  s.Text("creationTimestamp", &out->creation_timestamp);
  s.Text("deletionTimestamp", &out->deletion_timestamp);
  s.TextList("finalizers", &out->finalizers, {.max_items = 1000});
  for (const char* ignored :
       {"managedFields", "ownerReferences", "deletionGracePeriodSeconds", "selfLink", "generateName"})
    s.Ignore(ignored);
}

// The line of the node that a violation's path names, or of the nearest one above it that is there.
int LineAt(const Node& root, std::string_view path) {
  const Node* at = &root;
  for (std::string_view part : Split(path, '.')) {
    const size_t open = part.find('[');
    const Node* next = at->Find(part.substr(0, open));
    if (next == nullptr) return at->line;
    at = next;
    int64_t index = 0;
    if (open != std::string_view::npos && ParseInt(part.substr(open + 1, part.size() - open - 2), &index) &&
        static_cast<size_t>(index) < at->items.size()) {
      at = &at->items[static_cast<size_t>(index)];
    }
  }
  return at->line;
}

template <typename T>
T ReadObject(const Node& document, Section& root, ErrorList* errors) {
  T object;
  const size_t before = errors->lines().size();
  root.Sub(
      "metadata", [&object](Section& m) { ReadMetadata(m, NameRule(object), &object.metadata); }, true);
  ReadBody(root, &object);
  root.Finish();
  if (errors->lines().size() == before) {
    for (const Violation& violation : Validate(object))
      errors->Add(violation.path, LineAt(document, violation.path), violation.message);
  }
  return object;
}

void ReadDocument(const Node& document, ErrorList* errors, std::vector<Object>* out) {
  Section root(document, "", errors);
  if (!root.valid()) return;
  std::string version, kind;
  root.Text("apiVersion", &version, {.required = true});
  root.Text("kind", &kind, {.required = true});
  if (!version.empty() && version != kApiVersion) {
    return errors->Add("apiVersion", LineAt(document, "apiVersion"),
                       StrCat("expected ", kApiVersion, ", found \"", version, "\""));
  }
  if (kind == kKinds[0]) {
    out->push_back(ReadObject<InferenceDeployment>(document, root, errors));
  } else if (kind == kKinds[1]) {
    out->push_back(ReadObject<AcceleratorClass>(document, root, errors));
  } else if (kind == kKinds[2]) {
    out->push_back(ReadObject<ServingCurve>(document, root, errors));
  } else if (!kind.empty()) {
    const std::string near = NearMiss(kind, kKinds);
    errors->Add("kind", LineAt(document, "kind"),
                StrCat("expected InferenceDeployment, AcceleratorClass or ServingCurve, found \"", kind, "\"",
                       near.empty() ? "" : "; did you mean ", near, near.empty() ? "" : "?"));
  }
}

absl::Status ToStatus(const std::vector<std::string>& lines) {
  std::string message;
  for (size_t i = 0; i < lines.size() && i < kMaxErrors; ++i) StrAppend(&message, i ? "\n" : "", lines[i]);
  if (lines.size() > kMaxErrors) StrAppend(&message, "\n… and ", lines.size() - kMaxErrors, " more");
  return absl::InvalidArgumentError(message);
}

}  // namespace

double ToDouble(const Decimal& decimal) {
  double value = 0;
  return ParseDouble(decimal, &value) ? value : 0;
}

Decimal ToDecimal(double value, int places) {
  if (!(value >= 0)) return "";
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", std::clamp(places, 0, 9), std::min(value, 999'999'999.0));
  return text;
}

absl::StatusOr<std::vector<Object>> Parse(std::string_view text, std::string_view file_name) {
  PATELLA_ASSIGN_OR_RETURN(const std::vector<Node> documents, LoadYaml(text, file_name));
  std::vector<Object> objects;
  ErrorList errors(file_name);
  for (const Node& document : documents) ReadDocument(document, &errors, &objects);
  if (!errors.lines().empty()) return ToStatus(errors.lines());
  if (objects.empty()) return absl::InvalidArgumentError(StrCat("the file holds no object (", file_name, ")"));
  return objects;
}

template <typename T>
absl::StatusOr<T> ParseStored(std::string_view json) {
  PATELLA_ASSIGN_OR_RETURN(const Node document, LoadJson(json));
  ErrorList errors("", Unknown::kIgnored);
  Section root(document, "", &errors);
  T object;
  if (root.valid()) object = ReadObject<T>(document, root, &errors);
  if (!errors.lines().empty()) return ToStatus(errors.lines());
  return object;
}

template absl::StatusOr<InferenceDeployment> ParseStored(std::string_view);
template absl::StatusOr<AcceleratorClass> ParseStored(std::string_view);
template absl::StatusOr<ServingCurve> ParseStored(std::string_view);

absl::StatusOr<std::vector<Object>> ParseFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(StrCat(path, ": cannot be opened: check the path given with -f"));
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.gcount() == 0 && !file.eof()))
    return absl::NotFoundError(StrCat(path, ": cannot be read: is it a directory?"));
  if (static_cast<size_t>(file.gcount()) > kMaxFileBytes)
    return absl::InvalidArgumentError(StrCat(path, ": is larger than 1 MiB"));
  text.resize(static_cast<size_t>(file.gcount()));
  const size_t slash = path.rfind('/');
  return Parse(text, slash == std::string::npos ? path : path.substr(slash + 1));
}

absl::StatusOr<InferenceDeployment> ParseOneDeployment(const std::string& path) {
  PATELLA_ASSIGN_OR_RETURN(const std::vector<Object> objects, ParseFile(path));
  const InferenceDeployment* found = nullptr;
  for (const Object& object : objects) {
    const auto* deployment = std::get_if<InferenceDeployment>(&object);
    if (deployment == nullptr) continue;
    if (found != nullptr)
      return absl::InvalidArgumentError(
          StrCat(path, ": holds more than one InferenceDeployment; one is served at a time"));
    found = deployment;
  }
  if (found == nullptr) return absl::InvalidArgumentError(StrCat(path, ": holds no InferenceDeployment"));
  return *found;
}

}  // namespace patella::api
