#include "lib/api/print.h"

#include "lib/api/generated/codec.h"
#include "lib/api/writer.h"

namespace patella::api {
namespace {

Node Head(const char* kind, Node metadata) {
  Writer w;
  w.Text("apiVersion", kApiVersion);
  w.Text("kind", kind);
  w.Sub("metadata", std::move(metadata), true);
  return w.Take();
}

// A name in the default namespace is printed without one.
Node MetadataOf(const Metadata& metadata, bool for_server) {
  Writer w;
  w.Text("name", metadata.name);
  w.TextUnless("namespace", metadata.namespace_name, for_server ? "" : "default");
  w.Map("labels", metadata.labels);
  w.Map("annotations", metadata.annotations);
  if (for_server) w.TextUnless("resourceVersion", metadata.resource_version, "");
  return w.Take();
}

template <typename T>
Node Document(const char* kind, const T& object, bool for_server) {
  Metadata metadata = object.metadata;
  if constexpr (std::is_same_v<T, AcceleratorClass>)
    metadata.namespace_name = for_server ? "" : "default";  // cluster-scoped
  Node document = Head(kind, MetadataOf(metadata, for_server));
  document.fields.push_back({"spec", 0, WriteSpec(object)});
  return document;
}

}  // namespace

std::string Cut(const std::string& text, size_t characters) {
  const auto begins = [](char byte) { return (byte & 0xc0) != 0x80; };  // a character, in UTF-8
  if (text.size() <= characters) return text;
  size_t seen = 0, end = text.size();
  for (size_t i = 0; i < text.size(); ++i) {
    if (!begins(text[i])) continue;
    if (++seen == characters) end = i;
  }
  return seen <= characters ? text : text.substr(0, end) + "…";
}

void Writer::Map(const char* name, const StringMap& map) {
  Node node{.kind = Node::Kind::kMap};
  for (const auto& [key, value] : map)
    node.fields.push_back({key, 0, Node{.kind = Node::Kind::kQuoted, .text = value}});
  Sub(name, std::move(node));
}

void Writer::TextList(const char* name, const std::vector<std::string>& items) {
  SubList(name, items, [](const std::string& item) { return Node{.kind = Node::Kind::kQuoted, .text = item}; });
}

std::string Print(const InferenceDeployment& deployment) {
  return ToYaml(Document("InferenceDeployment", deployment, false));
}
std::string Print(const AcceleratorClass& accelerator) {
  return ToYaml(Document("AcceleratorClass", accelerator, false));
}
std::string Print(const ServingCurve& curve) { return ToYaml(Document("ServingCurve", curve, false)); }

std::string PrintJson(const InferenceDeployment& deployment) {
  return ToJson(Document("InferenceDeployment", deployment, true));
}
std::string PrintJson(const AcceleratorClass& accelerator) {
  return ToJson(Document("AcceleratorClass", accelerator, true));
}
std::string PrintJson(const ServingCurve& curve) { return ToJson(Document("ServingCurve", curve, true)); }

std::string PrintStatusApply(const Metadata& metadata, const InferenceDeploymentStatus& status) {
  Writer w;
  w.Text("name", metadata.name);
  w.Text("namespace", metadata.namespace_name);
  Node document = Head("InferenceDeployment", w.Take());
  document.fields.push_back({"status", 0, Write(status)});
  return ToJson(document);
}

std::string PrintJson(const InferenceDeploymentStatus& status) { return ToJson(Write(status)); }

}  // namespace patella::api
