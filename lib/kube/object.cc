#include "lib/kube/object.h"

#include <simdjson.h>

#include <cstring>
#include <limits>

#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::kube {
namespace {

namespace ondemand = simdjson::ondemand;

absl::Status NotJson(std::string_view what, std::string_view json, std::string_view why) {
  constexpr size_t kShown = 120;
  return absl::InvalidArgumentError(
      StrCat(what, " cannot be read: ", why, "; it begins with: ", json.substr(0, kShown)));
}

// A copy with the padding that simdjson wants; the buffer is kept for the next call.
simdjson::padded_string_view Padded(std::string& buffer, std::string_view json) {
  buffer.reserve(json.size() + simdjson::SIMDJSON_PADDING);
  buffer.assign(json);
  return simdjson::padded_string_view(buffer.data(), buffer.size(), buffer.capacity());
}

bool AtEnd(ondemand::document& document) {
  const char* location = nullptr;
  return document.current_location().get(location) == simdjson::OUT_OF_BOUNDS;
}

}  // namespace

// Collects the index of one object while its JSON is read, then puts both into one allocation.
struct ObjectBuilder {
  using Slot = std::pair<size_t, size_t>;  // offset and length in `index`

  std::string index;
  Slot api_version, kind, namespace_name, name, uid, resource_version, controller_uid, controller_kind, controller_name;
  std::vector<std::pair<Slot, Slot>> labels;
  int64_t generation = 0;
  bool deleting = false;
  bool initial_events_end = false;
  std::string_view cut;  // of the JSON: managedFields with its comma

  Slot Keep(std::string_view text) {
    const Slot slot{index.size(), text.size()};
    index.append(text);
    return slot;
  }

  simdjson::error_code ReadLabels(ondemand::value value) {
    ondemand::object object;
    if (const auto error = value.get_object().get(object)) return error;
    for (auto field : object) {
      std::string_view key, text;
      if (const auto error = field.unescaped_key().get(key)) return error;
      const Slot kept = Keep(key);
      if (const auto error = field.value().get_string().get(text)) return error;
      labels.emplace_back(kept, Keep(text));
    }
    return simdjson::SUCCESS;
  }

  simdjson::error_code ReadAnnotations(ondemand::value value) {
    ondemand::object object;
    if (const auto error = value.get_object().get(object)) return error;
    for (auto field : object) {
      std::string_view key, text;
      if (const auto error = field.unescaped_key().get(key)) return error;
      if (key != "k8s.io/initial-events-end") continue;
      if (const auto error = field.value().get_string().get(text)) return error;
      initial_events_end = text == "true";
    }
    return simdjson::SUCCESS;
  }

  simdjson::error_code ReadOwners(ondemand::value value) {
    ondemand::array owners;
    if (const auto error = value.get_array().get(owners)) return error;
    for (auto element : owners) {
      ondemand::object owner;
      if (const auto error = element.get_object().get(owner)) return error;
      bool controller = false;
      Slot owner_uid, owner_kind, owner_name;
      for (auto field : owner) {
        std::string_view key, text;
        if (const auto error = field.unescaped_key().get(key)) return error;
        if (key == "controller") {
          if (const auto error = field.value().get_bool().get(controller)) return error;
        } else if (key == "uid" || key == "kind" || key == "name") {
          Slot& slot = key == "uid" ? owner_uid : key == "kind" ? owner_kind : owner_name;
          if (const auto error = field.value().get_string().get(text)) return error;
          slot = Keep(text);
        }
      }
      if (controller) controller_uid = owner_uid, controller_kind = owner_kind, controller_name = owner_name;
    }
    return simdjson::SUCCESS;
  }

  // `raw_key` points behind the opening quote of the key, `end` behind the value. Takes one comma with it.
  void Cut(const char* raw_key, const char* end, const char* json_end) {
    const auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; };
    const char* begin = raw_key - 1;
    while (end < json_end && is_space(*end)) ++end;
    if (end < json_end && *end == ',') {
      ++end;
    } else {
      const char* before = begin;
      while (is_space(before[-1])) --before;
      if (before[-1] == ',') begin = before - 1;
    }
    cut = {begin, static_cast<size_t>(end - begin)};
  }

  simdjson::error_code ReadMetadata(ondemand::value value, const char* json_end) {
    ondemand::object metadata;
    if (const auto error = value.get_object().get(metadata)) return error;
    for (auto field : metadata) {
      std::string_view key, text;
      const char* raw_key = field.key().value_unsafe().raw();
      if (const auto error = field.unescaped_key().get(key)) return error;
      ondemand::value member;
      if (const auto error = field.value().get(member)) return error;
      simdjson::error_code error = simdjson::SUCCESS;
      if (key == "namespace" || key == "name" || key == "uid" || key == "resourceVersion") {
        Slot& slot = key == "namespace" ? namespace_name : key == "name" ? name : key == "uid" ? uid : resource_version;
        error = member.get_string().get(text);
        if (!error) slot = Keep(text);
      } else if (key == "generation") {
        error = member.get_int64().get(generation);
      } else if (key == "deletionTimestamp") {
        deleting = !member.is_null();
      } else if (key == "labels") {
        if (!member.is_null()) error = ReadLabels(member);
      } else if (key == "annotations") {
        if (!member.is_null()) error = ReadAnnotations(member);
      } else if (key == "ownerReferences") {
        if (!member.is_null()) error = ReadOwners(member);
      } else if (key == "managedFields") {
        std::string_view raw;
        error = simdjson::to_json_string(member).get(raw);
        if (!error) Cut(raw_key, raw.data() + raw.size(), json_end);
      }
      if (error) return error;
    }
    return simdjson::SUCCESS;
  }

  simdjson::error_code Read(ondemand::parser& parser, simdjson::padded_string_view json) {
    ondemand::document document;
    if (const auto error = parser.iterate(json).get(document)) return error;
    ondemand::object object;
    if (const auto error = document.get_object().get(object)) return error;
    bool has_metadata = false;
    for (auto field : object) {
      std::string_view key, text;
      if (const auto error = field.unescaped_key().get(key)) return error;
      if (key == "apiVersion" || key == "kind") {
        Slot& slot = key == "kind" ? kind : api_version;
        if (const auto error = field.value().get_string().get(text)) return error;
        slot = Keep(text);
      } else if (key == "metadata") {
        ondemand::value value;
        if (const auto error = field.value().get(value)) return error;
        if (const auto error = ReadMetadata(value, json.data() + json.size())) return error;
        has_metadata = true;
      }
    }
    if (!AtEnd(document)) return simdjson::TRAILING_CONTENT;
    return has_metadata ? simdjson::SUCCESS : simdjson::NO_SUCH_FIELD;
  }

  // `json` is what Read was given, so that `cut` points into it.
  ObjectPtr Build(std::string_view json, const Resource* resource) {
    std::string types;  // goes behind the opening brace
    if (resource != nullptr && api_version.second == 0) {
      api_version = Keep(ApiVersionOf(*resource));
      StrAppend(&types, "\"apiVersion\":\"", ApiVersionOf(*resource), "\",");
    }
    if (resource != nullptr && kind.second == 0) {
      kind = Keep(resource->kind);
      StrAppend(&types, "\"kind\":\"", resource->kind, "\",");
    }
    std::shared_ptr<Object> object(new Object);
    const size_t size = json.size() - cut.size() + types.size();
    object->bytes_ = std::make_unique_for_overwrite<char[]>(size + index.size());
    char* to = object->bytes_.get();
    const auto put = [&](std::string_view text) {
      std::memcpy(to, text.data(), text.size());
      to += text.size();
    };
    const size_t brace = json.find('{') + 1;
    put(json.substr(0, brace));
    put(types);
    if (cut.empty()) {
      put(json.substr(brace));
    } else {
      const size_t cut_at = static_cast<size_t>(cut.data() - json.data());
      put(json.substr(brace, cut_at - brace));
      put(json.substr(cut_at + cut.size()));
    }
    const char* strings = to;
    put(index);
    const auto view = [&](Slot slot) { return std::string_view(strings + slot.first, slot.second); };
    object->json_size_ = static_cast<uint32_t>(size);
    object->generation_ = generation;
    object->deleting_ = deleting;
    object->initial_events_end_ = initial_events_end;
    object->api_version_ = view(api_version);
    object->kind_ = view(kind);
    object->namespace_name_ = view(namespace_name);
    object->name_ = view(name);
    object->uid_ = view(uid);
    object->resource_version_ = view(resource_version);
    object->controller_uid_ = view(controller_uid);
    object->controller_kind_ = view(controller_kind);
    object->controller_name_ = view(controller_name);
    object->labels_.reserve(labels.size());
    for (const auto& [key, value] : labels) object->labels_.emplace_back(view(key), view(value));
    return object;
  }
};

absl::StatusOr<ObjectPtr> Object::Parse(std::string_view json, const Resource* resource) {
  thread_local ondemand::parser parser;
  thread_local std::string buffer;
  if (json.size() >= std::numeric_limits<uint32_t>::max()) return NotJson("an object", json, "it is larger than 4 GiB");
  const simdjson::padded_string_view padded = Padded(buffer, json);
  ObjectBuilder builder;
  if (const simdjson::error_code error = builder.Read(parser, padded)) {
    return NotJson("an object", json,
                   error == simdjson::NO_SUCH_FIELD ? "it has no metadata" : simdjson::error_message(error));
  }
  return builder.Build({padded.data(), padded.size()}, resource);
}

std::string_view Object::label(std::string_view key) const {
  for (const auto& [name, value] : labels_) {
    if (name == key) return value;
  }
  return {};
}

absl::StatusOr<ListPage> ParseList(std::string_view json, const Resource& resource) {
  ListPage page;
  std::vector<std::string_view> items;
  std::string buffer;
  ondemand::parser parser;
  const simdjson::padded_string_view padded = Padded(buffer, json);
  const auto read = [&]() -> simdjson::error_code {
    ondemand::document document;
    if (const auto error = parser.iterate(padded).get(document)) return error;
    ondemand::object list;
    if (const auto error = document.get_object().get(list)) return error;
    for (auto field : list) {
      std::string_view key;
      if (const auto error = field.unescaped_key().get(key)) return error;
      ondemand::value value;
      if (const auto error = field.value().get(value)) return error;
      if (key == "metadata") {
        ondemand::object metadata;
        if (const auto error = value.get_object().get(metadata)) return error;
        for (auto member : metadata) {
          std::string_view name, text;
          if (const auto error = member.unescaped_key().get(name)) return error;
          if (name != "resourceVersion" && name != "continue") continue;
          if (const auto error = member.value().get_string().get(text)) return error;
          (name == "continue" ? page.continue_token : page.resource_version) = std::string(text);
        }
      } else if (key == "items" && !value.is_null()) {
        ondemand::array array;
        if (const auto error = value.get_array().get(array)) return error;
        for (auto element : array) {
          ondemand::value item;
          if (const auto error = element.get(item)) return error;
          std::string_view raw;
          if (const auto error = simdjson::to_json_string(item).get(raw)) return error;
          items.push_back(raw);
        }
      }
    }
    return simdjson::SUCCESS;
  };
  if (const simdjson::error_code error = read()) return NotJson("a list", json, simdjson::error_message(error));
  page.items.reserve(items.size());
  for (const std::string_view item : items) {
    PATELLA_ASSIGN_OR_RETURN(ObjectPtr object, Object::Parse(item, &resource));
    page.items.push_back(std::move(object));
  }
  return page;
}

absl::StatusOr<WatchEvent> ParseWatchEvent(std::string_view line) {
  thread_local ondemand::parser parser;
  thread_local std::string buffer;
  std::string type;
  std::string_view body;
  const simdjson::padded_string_view padded = Padded(buffer, line);
  const auto read = [&]() -> simdjson::error_code {
    ondemand::document document;
    if (const auto error = parser.iterate(padded).get(document)) return error;
    ondemand::object event;
    if (const auto error = document.get_object().get(event)) return error;
    for (auto field : event) {
      std::string_view key, text;
      if (const auto error = field.unescaped_key().get(key)) return error;
      if (key == "type") {
        if (const auto error = field.value().get_string().get(text)) return error;
        type = text;
      } else if (key == "object") {
        ondemand::object object;
        if (const auto error = field.value().get_object().get(object)) return error;
        if (const auto error = object.raw_json().get(body)) return error;
      }
    }
    return AtEnd(document) ? simdjson::SUCCESS : simdjson::TRAILING_CONTENT;
  };
  if (const simdjson::error_code error = read()) return NotJson("a watch event", line, simdjson::error_message(error));
  WatchEvent event;
  static constexpr std::pair<std::string_view, WatchEventType> kTypes[] = {{"ADDED", WatchEventType::kAdded},
                                                                           {"MODIFIED", WatchEventType::kModified},
                                                                           {"DELETED", WatchEventType::kDeleted},
                                                                           {"BOOKMARK", WatchEventType::kBookmark},
                                                                           {"ERROR", WatchEventType::kError}};
  for (const auto& [name, value] : kTypes) {
    if (type == name) event.type = value;
  }
  if (event.type == WatchEventType::kNothingYet) return NotJson("a watch event", line, "its type is unknown");
  if (body.empty()) return NotJson("a watch event", line, "it has no object");
  if (event.type == WatchEventType::kError) {
    event.error_json = std::string(body);
    return event;
  }
  PATELLA_ASSIGN_OR_RETURN(event.object, Object::Parse(body));
  return event;
}

std::string ApiVersionOf(const Resource& resource) {
  return resource.group.empty() ? std::string(resource.version) : StrCat(resource.group, "/", resource.version);
}

std::string QualifiedName(const Resource& resource) {
  return resource.group.empty() ? std::string(resource.plural) : StrCat(resource.plural, ".", resource.group);
}

std::string PercentEncode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      out.push_back(c);
    } else {
      static constexpr char kDigits[] = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

std::string ResourcePath(const Resource& resource, std::string_view namespace_name, std::string_view name,
                         std::string_view subresource) {
  std::string path = resource.group.empty() ? StrCat("/api/", resource.version)
                                            : StrCat("/apis/", resource.group, "/", resource.version);
  if (resource.namespaced && !namespace_name.empty()) StrAppend(&path, "/namespaces/", PercentEncode(namespace_name));
  StrAppend(&path, "/", resource.plural);
  if (!name.empty()) StrAppend(&path, "/", PercentEncode(name));
  if (!subresource.empty()) StrAppend(&path, "/", PercentEncode(subresource));
  return path;
}

std::string ObjectKey::ToString() const { return namespace_name.empty() ? name : StrCat(namespace_name, "/", name); }

size_t ObjectKeyHash::operator()(const ObjectKey& key) const {
  const std::hash<std::string> hash;
  return hash(key.namespace_name) * 0x9e3779b97f4a7c15u ^ hash(key.name);
}

int CompareResourceVersions(std::string_view a, std::string_view b) {
  if (a == b) return 0;
  const auto is_number = [](std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
  };
  if (!is_number(a) || !is_number(b)) return 2;
  const auto trim = [](std::string_view text) {
    return text.substr(std::min(text.find_first_not_of('0'), text.size()));
  };
  a = trim(a), b = trim(b);
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return a == b ? 0 : a < b ? -1 : 1;
}

}  // namespace patella::kube
