#include "sidecar/cluster/handover.h"

namespace patella::sidecar {
namespace {

constexpr int kRounds = 4;  // of at most a second each, and the pause: two to six seconds
constexpr Duration kPause = std::chrono::milliseconds(700);

}  // namespace

std::vector<Learned> AskForLearned(Peers& peers, const HandOverQuestion& question,
                                   const std::function<bool(Duration)>& wait) {
  std::vector<Learned> learned;
  for (int round = 0; round < kRounds && learned.empty(); ++round) {
    if (round > 0 && !wait(kPause)) break;
    for (PeerReport& report : peers.Ask(question.pod)) {
      if (report.revision != question.revision || report.learned.key != question.key || !Usable(report.learned))
        continue;
      learned.push_back(std::move(report.learned));
    }
  }
  return learned;
}

}  // namespace patella::sidecar
