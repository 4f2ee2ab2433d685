#include <nlohmann/json.hpp>

#include "lib/api/node.h"
#include "lib/base/text.h"

namespace patella::api {
namespace {

constexpr size_t kMaxDepth = 100;

// Builds the tree while nlohmann's parser reads. `open_` are the maps and lists that are not closed yet.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return Add(Node::Kind::kNull, "null"); }
  bool boolean(bool value) override { return Add(Node::Kind::kBool, value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return Add(Node::Kind::kInt, StrCat(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Add(Node::Kind::kInt, StrCat(value)); }
  bool number_float(number_float_t, const string_t& text) override {
    const bool plain = text.find_first_of("eE") == std::string::npos;
    return Add(plain ? Node::Kind::kDecimal : Node::Kind::kNumber, text);
  }
  bool string(string_t& value) override { return Add(Node::Kind::kQuoted, std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(Node::Kind::kMap); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(Node::Kind::kList); }
  bool end_array() override { return Close(); }
  bool key(string_t& value) override {
    if (skipped_ > 0) return true;
    skip_next_ = value == "managedFields";
    if (!skip_next_) open_.back()->fields.push_back({std::move(value), 0, {}});
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    error = StrCat("not JSON at byte ", position, ": ", e.what());
    return false;
  }

  Node root;
  std::string error = "not JSON: nested too deep";

 private:
  Node* Place() {
    if (open_.empty()) return &root;
    Node* parent = open_.back();
    return parent->IsMap() ? &parent->fields.back().value : &parent->items.emplace_back();
  }
  bool Add(Node::Kind kind, std::string text) {
    if (skipped_ > 0) return true;
    if (skip_next_) {
      skip_next_ = false;
      return true;
    }
    Node* node = Place();
    node->kind = kind;
    node->text = std::move(text);
    return true;
  }
  // A parent's vectors don't grow while a child is open, so that the pointers in open_ stay good.
  bool Open(Node::Kind kind) {
    if (skipped_ > 0 || skip_next_) {
      skip_next_ = false;
      return ++skipped_ < kMaxDepth;
    }
    if (open_.size() >= kMaxDepth) return false;
    Node* node = Place();
    node->kind = kind;
    open_.push_back(node);
    return true;
  }
  bool Close() {
    if (skipped_ > 0) {
      --skipped_;
    } else {
      open_.pop_back();
    }
    return true;
  }

  std::vector<Node*> open_;
  size_t skipped_ = 0;  // depth within a value that is skipped
  bool skip_next_ = false;
};

void AppendText(std::string* out, std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out->append("\\u00");
      out->push_back(kDigits[(c >> 4) & 0xf]);
      out->push_back(kDigits[c & 0xf]);
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

void Append(std::string* out, const Node& node) {
  switch (node.kind) {
    case Node::Kind::kMap:
      out->push_back('{');
      for (const Field& field : node.fields) {
        if (&field != &node.fields.front()) out->push_back(',');
        AppendText(out, field.key);
        out->push_back(':');
        Append(out, field.value);
      }
      out->push_back('}');
      break;
    case Node::Kind::kList:
      out->push_back('[');
      for (const Node& item : node.items) {
        if (&item != &node.items.front()) out->push_back(',');
        Append(out, item);
      }
      out->push_back(']');
      break;
    case Node::Kind::kText:
    case Node::Kind::kQuoted:
    case Node::Kind::kNumber:  // YAML's 0x10 and .inf are no JSON
      AppendText(out, node.text);
      break;
    case Node::Kind::kBool:
      out->append(IsTrue(node) ? "true" : "false");
      break;
    case Node::Kind::kInt:
      out->append(node.text.starts_with('+') ? node.text.substr(1) : node.text);
      break;
    case Node::Kind::kDecimal: {
      double value = 0;
      ParseDouble(node.text, &value);
      out->append(nlohmann::json(value).dump());
      break;
    }
    case Node::Kind::kRaw:
      out->append(node.text);
      break;
    default:
      out->append("null");
  }
}

}  // namespace

absl::StatusOr<Node> LoadJson(std::string_view text) {
  Builder builder;
  if (!nlohmann::json::sax_parse(text, &builder)) return absl::InvalidArgumentError(builder.error);
  return std::move(builder.root);
}

std::string ToJson(const Node& node) {
  std::string out;
  Append(&out, node);
  return out;
}

}  // namespace patella::api
