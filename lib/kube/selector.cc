#include "lib/kube/selector.h"

#include <algorithm>

#include "lib/base/status_macros.h"
#include "lib/base/text.h"

namespace patella::kube {
namespace {

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// At commas outside of parentheses.
std::vector<std::string_view> Terms(std::string_view text) {
  std::vector<std::string_view> terms;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')') --depth;
    if (i < text.size() && (text[i] != ',' || depth > 0)) continue;
    if (const std::string_view term = Trim(text.substr(begin, i - begin)); !term.empty()) terms.push_back(term);
    begin = i + 1;
  }
  return terms;
}

absl::Status Unreadable(std::string_view term) {
  return absl::InvalidArgumentError(ToAbsl(StrCat("selector term \"", term, "\" cannot be read")));
}

}  // namespace

absl::StatusOr<Selector::Term> Selector::ParseTerm(std::string_view text, bool field) {
  Term term{.field = field};
  if (const size_t at = text.find('='); at != std::string_view::npos) {
    term.negated = at > 0 && text[at - 1] == '!';
    const size_t value = text.substr(at).starts_with("==") ? at + 2 : at + 1;
    term.key = Trim(text.substr(0, term.negated ? at - 1 : at));
    term.values = {std::string(Trim(text.substr(value)))};
  } else if (const size_t open = text.find('('); open != std::string_view::npos) {
    const std::string_view head = Trim(text.substr(0, open));
    const size_t space = head.find(' ');
    if (space == std::string_view::npos || !text.ends_with(')')) return Unreadable(text);
    const std::string_view operation = Trim(head.substr(space));
    if (operation != "in" && operation != "notin") return Unreadable(text);
    term.negated = operation == "notin";
    term.key = head.substr(0, space);
    for (const std::string_view value : Terms(text.substr(open + 1, text.size() - open - 2)))
      term.values.emplace_back(value);
  } else {
    term.any_value = true;
    term.negated = text.starts_with('!');
    term.key = Trim(text.substr(term.negated ? 1 : 0));
  }
  const bool known = !field || (!term.any_value && (term.key == "metadata.name" || term.key == "metadata.namespace"));
  if (term.key.empty() || term.key.find(' ') != std::string::npos || !known) return Unreadable(text);
  return term;
}

absl::StatusOr<Selector> Selector::Parse(std::string_view labels, std::string_view fields) {
  Selector selector;
  for (const bool field : {false, true}) {
    for (const std::string_view text : Terms(field ? fields : labels)) {
      PATELLA_ASSIGN_OR_RETURN(Term term, ParseTerm(text, field));
      selector.terms_.push_back(std::move(term));
    }
  }
  return selector;
}

bool Selector::Matches(const Object& object) const {
  return std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
    std::string_view value;
    bool there = term.field;
    if (term.field) {
      value = term.key == "metadata.name" ? object.name() : object.namespace_name();
    } else {
      for (const auto& [key, text] : object.labels()) {
        if (key == term.key) value = text, there = true;
      }
    }
    const bool hit =
        there && (term.any_value || std::find(term.values.begin(), term.values.end(), value) != term.values.end());
    return hit != term.negated;
  });
}

}  // namespace patella::kube
