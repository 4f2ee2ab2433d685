#include "lib/loadgen/prompts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace patella::loadgen {
namespace {

constexpr std::array<std::string_view, 32> kWho = {
    "the old baker",     "my neighbour",  "a young doctor", "the captain", "our teacher",     "the gardener",
    "a quiet student",   "the postman",   "an engineer",    "the painter", "her brother",     "the farmer",
    "a tired nurse",     "the librarian", "his aunt",       "the driver",  "a small boy",     "the mayor",
    "one of the guests", "the carpenter", "a traveller",    "the singer",  "their cousin",    "the cook",
    "a fisherman",       "the writer",    "an old friend",  "the tailor",  "the night guard", "a stranger",
    "the miller",        "my sister"};
constexpr std::array<std::string_view, 32> kDid = {
    "opened",     "carried",    "found",        "repaired", "sold",    "painted", "described",   "forgot",
    "bought",     "cleaned",    "drew",         "hid",      "moved",   "lost",    "wrote about", "asked for",
    "looked at",  "remembered", "measured",     "kept",     "washed",  "built",   "showed us",   "borrowed",
    "waited for", "counted",    "talked about", "covered",  "brought", "sent",    "locked",      "noticed"};
constexpr std::array<std::string_view, 32> kWhat = {
    "a wooden box",      "the green door",  "two letters",        "an empty basket",   "the broken clock",
    "a warm coat",       "the long table",  "a map of the coast", "some fresh bread",  "the small boat",
    "a heavy book",      "the garden wall", "three red apples",   "a box of tools",    "the kitchen window",
    "an old photograph", "a bag of flour",  "the narrow bridge",  "a piano",           "the last train",
    "a pair of shoes",   "the water pump",  "a cup of tea",       "the market square", "a silver ring",
    "the school bell",   "a winter hat",    "the oil lamp",       "a white horse",     "the front gate",
    "a list of names",   "the corner shop"};
constexpr std::array<std::string_view, 24> kWhere = {
    "near the river",    "behind the church", "at the station",      "on the hill",       "in the kitchen",
    "under the bridge",  "by the sea",        "in the next village", "across the street", "at the edge of the forest",
    "in the library",    "outside the town",  "on the second floor", "beside the road",   "in the yard",
    "at the harbour",    "along the canal",   "near the old mill",   "in a small hotel",  "at home",
    "between the trees", "on the way back",   "in the valley",       "at the market"};
constexpr std::array<std::string_view, 24> kWhen = {"before the rain came",
                                                    "early in the morning",
                                                    "last winter",
                                                    "after the long meeting",
                                                    "when the bells rang",
                                                    "on a cold Sunday",
                                                    "while everyone slept",
                                                    "late in the evening",
                                                    "during the holidays",
                                                    "just after lunch",
                                                    "as the sun went down",
                                                    "once a week",
                                                    "when nobody was looking",
                                                    "at the end of May",
                                                    "for the second time",
                                                    "before the shop closed",
                                                    "when the snow melted",
                                                    "on the first day of school",
                                                    "while the others talked",
                                                    "many years ago",
                                                    "without saying why",
                                                    "as usual",
                                                    "in great haste",
                                                    "with a smile"};

}  // namespace

PromptMaker::PromptMaker(uint64_t seed) : random_(seed), next_number_(random_() >> 16) {}

void PromptMaker::AppendWord(Prompt& prompt, std::string_view word) {
  if (!prompt.text.empty()) prompt.text += ' ';
  prompt.text += word;
  ++prompt.words;
}

void PromptMaker::AppendSentence(Prompt& prompt, int words_wanted) {
  const std::array<std::string_view, 5> parts = {kWhen[Below(kWhen.size())], kWho[Below(kWho.size())],
                                                 kDid[Below(kDid.size())], kWhat[Below(kWhat.size())],
                                                 kWhere[Below(kWhere.size())]};
  bool first = true;
  for (size_t part = 0; part < parts.size(); ++part) {
    std::string_view rest = parts[part];
    while (!rest.empty() && prompt.words < words_wanted) {
      const size_t space = std::min(rest.find(' '), rest.size());
      std::string word(rest.substr(0, space));
      rest.remove_prefix(std::min(space + 1, rest.size()));
      if (first) word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
      if (part == 0 && rest.empty()) word += ',';
      first = false;
      AppendWord(prompt, word);
    }
  }
  prompt.text += '.';
}

Prompt PromptMaker::Make(int tokens) {
  const int words = std::max(1, static_cast<int>(std::lround(tokens / tokens_per_word())));
  Prompt prompt;
  // The lead spells a number that is never used twice, lowest digit first: two prompts differ within their first words.
  uint64_t number = next_number_++;
  for (int digit = 0; digit < 4 && prompt.words < words; ++digit, number /= kWhat.size()) {
    std::string_view thing = kWhat[number % kWhat.size()];
    AppendWord(prompt, thing.substr(thing.rfind(' ') + 1));
  }
  if (prompt.words < words) prompt.text += ':';
  while (prompt.words < words) AppendSentence(prompt, words);
  return prompt;
}

void PromptMaker::Observe(int words, int tokens) {
  if (words <= 0 || tokens <= 0) return;
  constexpr double kMemoryWords = 4096;  // old observations fade, so that a change of model is learned
  if (words_seen_ > kMemoryWords) {
    tokens_seen_ /= 2;
    words_seen_ /= 2;
  }
  if (words_seen_ <= 16) {  // what was assumed gives way to what was seen
    tokens_seen_ = words_seen_ = 0;
  }
  tokens_seen_ += tokens;
  words_seen_ += words;
}

}  // namespace patella::loadgen
