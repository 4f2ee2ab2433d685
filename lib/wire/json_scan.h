// Reads a few members of JSON text without building anything: a proxy looks at bodies and events that are none of its own, at a small part of
// what a token costs. Values are slices of the text. What is not JSON ends the walk early: the engine says what is wrong with it.
// No recursion; a walk takes time linear in its text. Internal to lib/wire's .cc files.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace patella::wire {

class JsonCursor {
 public:
  explicit JsonCursor(std::string_view text) : text_(text) {}

  bool Eat(char wanted);     // goes past it, and white space before, if it comes next
  std::string_view Value();  // goes past one value of any kind; empty if there is none

 private:
  void SkipSpace();
  void SkipString();
  void SkipContainer();

  std::string_view text_;
  size_t at_ = 0;
};

// A key without its two quotes. `unescaped` holds it where it has escapes, as a client that wants to pass unseen could write it.
std::string_view KeyOf(std::string_view quoted, std::string& unescaped);

// f(key, value) for each member of an object. Other values have none.
template <typename F>
void ForEachMember(std::string_view object, F f) {
  JsonCursor cursor(object);
  if (!cursor.Eat('{')) return;
  std::string unescaped;
  do {
    const std::string_view key = cursor.Value();
    if (!key.starts_with('"') || !cursor.Eat(':')) return;
    const std::string_view value = cursor.Value();
    if (value.empty()) return;
    f(KeyOf(key, unescaped), value);
  } while (cursor.Eat(','));
}

// f(value) for each element of an array. Other values have none.
template <typename F>
void ForEachElement(std::string_view array, F f) {
  JsonCursor cursor(array);
  if (!cursor.Eat('[')) return;
  do {
    const std::string_view value = cursor.Value();
    if (value.empty()) return;
    f(value);
  } while (cursor.Eat(','));
}

// Also of a string that holds a number: lenient servers take it for one.
std::optional<double> NumberIn(std::string_view value);

}  // namespace patella::wire
