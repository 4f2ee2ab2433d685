#include "lib/wire/stream_event.h"

#include <algorithm>

#include "lib/wire/json_scan.h"

namespace patella::wire {
namespace {

constexpr double kMostChoices = 1 << 20;

// A string with at least one character, or an array with at least one element.
bool HasContent(std::string_view value) { return value.size() > 2 && (value.front() == '"' || value.front() == '['); }

StreamPiece PieceOf(std::string_view choice) {
  StreamPiece piece;
  bool text = false, role = false;
  std::string_view token_ids;
  ForEachMember(choice, [&](std::string_view key, std::string_view value) {
    if (key == "index")
      piece.choice = static_cast<int>(std::clamp<double>(NumberIn(value).value_or(0), 0, kMostChoices));
    if (key == "text") text = text || HasContent(value);
    if (key == "finish_reason") piece.last = HasContent(value);
    if (key == "token_ids" && value.front() == '[') token_ids = value;
    if (key != "delta") return;
    ForEachMember(value, [&](std::string_view field, std::string_view content) {
      if (field == "role") role = HasContent(content);
      if (field == "content" || field == "reasoning_content" || field == "reasoning" || field == "tool_calls")
        text = text || HasContent(content);
    });
  });
  if (!token_ids.empty()) {
    ForEachElement(token_ids, [&](std::string_view) { ++piece.tokens; });
    return piece;
  }
  piece.opens = role && !text && !piece.last;
  piece.tokens = text || !piece.last ? 1 : 0;
  return piece;
}

}  // namespace

std::vector<StreamPiece> PiecesOf(std::string_view event) {
  std::vector<StreamPiece> pieces;
  ForEachMember(event, [&](std::string_view key, std::string_view value) {
    if (key == "token" && value.front() == '{') pieces.push_back({.tokens = 1});
    if (key != "choices") return;
    ForEachElement(value, [&](std::string_view choice) {
      if (choice.front() == '{') pieces.push_back(PieceOf(choice));
    });
  });
  return pieces;
}

}  // namespace patella::wire
