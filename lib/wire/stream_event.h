// What one event of a generation's stream brings, in either dialect, without parsing it.
//
// TGI: an event a token, whatever its text. OpenAI: pieces of choices. A token may have no text yet (part of a character, or of what may become
// a stop sequence), so a piece without text is a token too, unless it ends its choice or only opens it with a role. Of engines that put
// several tokens into one piece, those that send token ids are counted by them; of the others only `usage` knows.
#pragma once

#include <string_view>
#include <vector>

namespace patella::wire {

struct StreamPiece {
  int choice = 0;  // whose; 0 in TGI's dialect
  int tokens = 0;
  bool opens = false;  // a role and no text: no token, if it is the first piece of its choice
  bool last = false;   // says why its choice ended
};

// Of the event's data, one a choice that it has something of; none for errors, usage and "[DONE]".
std::vector<StreamPiece> PiecesOf(std::string_view event);

// Counts the tokens of one choice's pieces.
class PieceCounter {
 public:
  int TokensIn(const StreamPiece& piece) {
    const bool opening = piece.opens && !begun_;
    begun_ = true;
    return opening ? 0 : piece.tokens;
  }

 private:
  bool begun_ = false;
};

}  // namespace patella::wire
